"""What was asked and answered, and how a ledger keeps it. Normative text: docs/spec/ledger.md, section 3."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from watermark.errors import LedgerError
from watermark.ledger.sealing import SealingKey, check_public, seal
from watermark.windows import MAX_ID

MAX_TOKENS: Final = 1 << 24  # of one answer, as in transcripts
SALT_BYTES: Final = 16

Salt = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
TokenId = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]


def _salt() -> str:
    return secrets.token_hex(SALT_BYTES)


class _Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    def to_json(self) -> bytes:
        """The bytes that are digested and sealed.

        Raises:
            LedgerError: a surrogate without its other half, or a value of another type.
        """
        try:
            return msgspec.json.encode(self)
        except (TypeError, ValueError, OverflowError) as error:  # their messages quote types and single characters
            raise LedgerError(f"{type(self).__name__.lower()} cannot be written as JSON: {error}") from None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<hidden>)"  # what was asked is sealed, and does not go into a log beside it

    def digest(self) -> str:
        """Commits to the content, and hides it as long as the salt is hidden."""
        return "sha256:" + hashlib.sha256(self.to_json()).hexdigest()


class Content(_Content, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was asked and answered.

    Attributes:
        prompt: everything the model saw before the answer.
        response: the text.
        token_ids: as they were drawn.
        salt: random, so that nobody can try guesses.
    """

    prompt: str
    response: str
    token_ids: Annotated[tuple[TokenId, ...], msgspec.Meta(max_length=MAX_TOKENS)]
    salt: Salt = msgspec.field(default_factory=_salt)


class Assignee(_Content, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who has a slot.

    Attributes:
        name: as the provider calls them.
        salt: random.
    """

    name: str
    salt: Salt = msgspec.field(default_factory=_salt)


AnyContent = Content | Assignee
Kept = str | Content | Assignee | None  # what stands in a record


@dataclass(frozen=True)
class Place:
    """Where a content stands: it opens in no other place.

    Attributes:
        role: `answer`, `twin` or `assigned`.
        epoch: name, or empty.
        name: of the request, the twin or the slot.
    """

    role: Literal["answer", "twin", "assigned"]
    epoch: str
    name: str

    def info(self) -> bytes:
        """What HPKE binds the box to."""
        parts = [part.encode() for part in ("radiolabel/v1/ledger", self.role, self.epoch, self.name)]
        return b"".join(len(part).to_bytes(2, "little") + part for part in parts)


@dataclass(frozen=True)
class Keeping:
    """How one file keeps contents.

    Attributes:
        contents: `sealed`, `clear` or `off`.
        sealing: the public key, 64 hexadecimal digits, if they are sealed.
    """

    contents: Literal["sealed", "clear", "off"]
    sealing: str | None = None

    def __post_init__(self) -> None:
        if (self.contents == "sealed") != (self.sealing is not None):
            raise LedgerError(
                f"contents are {self.contents} {'without' if self.sealing is None else 'with'} a public key",
                hint="radiolabel ledger key makes one: only sealed contents need it",
            )
        if self.sealing is not None:
            check_public(self.sealing)

    def keep(self, content: AnyContent, place: Place) -> Kept:
        """What stands in the record."""
        if self.sealing is not None:
            return base64.b64encode(seal(content.to_json(), self.sealing, place.info())).decode()
        return content if self.contents == "clear" else None

    def fits(self, kept: Kept) -> bool:
        """Whether a record of this file can hold it."""
        kind = {"sealed": str, "clear": _Content, "off": type(None)}[self.contents]
        return isinstance(kept, kind)


_CONTENT: Final = msgspec.json.Decoder(Content)


def opened(kept: Kept, digest: str, place: Place, *, key: SealingKey | None) -> Content:
    """The content of an answer.

    Args:
        kept: what stands in the record.
        digest: what the record states of it.
        place: where it stands.
        key: opens what is sealed.

    Raises:
        LedgerError: nothing was kept, there is no key or another one, or the content is not what was recorded.
    """
    what = f"{place.role} of {place.name[:60]!r}"
    if kept is None:
        raise LedgerError(f"{what}: contents were not kept", hint="the ledger was made with contents off")
    if isinstance(kept, str):
        if key is None:
            raise LedgerError(f"{what}: sealed, expected the private key that opens it")
        kept = _decoded(key.open(_boxed(kept, what), place.info(), what), what)
    if not isinstance(kept, Content) or kept.digest() != digest:
        raise LedgerError(f"{what}: the content is not the one whose digest the record states")
    return kept


def _boxed(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise LedgerError(f"{what}: not base64, expected a sealed content") from None


def _decoded(data: bytes, what: str) -> Content:
    try:
        return _CONTENT.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Whoever has the public key can seal anything; it is not quoted.
        raise LedgerError(f"{what}: what was sealed is not a content of version 1") from None
