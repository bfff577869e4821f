"""The records of a ledger. Normative text: docs/spec/ledger.md, section 2."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from watermark.errors import LedgerError
from watermark.ledger.contents import Assignee, Content, Keeping, Kept, Place
from watermark.ledger.lines import MAX_COUNT
from watermark.prf import MAX_WIDTH

VERSION: Final = 1
TWIN_SUFFIX: Final = "-twin"

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,128}\Z")]
Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Time = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
Text = Annotated[str, msgspec.Meta(max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=MAX_COUNT)]
Positive = Annotated[int, msgspec.Meta(ge=1, lt=MAX_COUNT)]
Reason = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,40}\Z")]
Channel = Literal["fleet", "cohort", "account"]
Setting = int | float | Text | bool


class _Record(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="radiolabel"
):
    version: Literal[1]
    time: Time

    def check(self) -> None:
        """Refuse fields that do not go together.

        Raises:
            LedgerError: they do not.
        """


class Opened(_Record, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="opened"):
    """The first record of a file.

    Attributes:
        version: of the format.
        time: when the file was made.
        ledger: 16 random bytes in hexadecimal.
        contents: how this file keeps contents.
        sealing: the public key, if it seals them.
    """

    ledger: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    contents: Literal["sealed", "clear", "off"]
    sealing: Hex32 | None = None

    def check(self) -> None:
        """See `_Record`."""
        self.keeping()

    def keeping(self) -> Keeping:
        """How this file keeps contents."""
        return Keeping(self.contents, self.sealing)


class Twin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The answer that was drawn beside the served one and withheld.

    Attributes:
        id: of the pair, and of the request of the second draw.
        coin: which of the two draws was served.
        share: parts per million of the requests that get a twin, or None.
        tokens: of the withheld answer.
        digest: of its content.
        content: as the file keeps it.
    """

    id: Name
    coin: Literal[0, 1]
    share: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    tokens: Count
    digest: Digest
    content: str | Content | None = None

    @property
    def first(self) -> str:
        """The request of the first draw."""
        return self.id.removesuffix(TWIN_SUFFIX)

    @property
    def served(self) -> str:
        """The request of the draw that was served."""
        return self.id if self.coin else self.first


class Served(_Record, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="served"):
    """One answer: the fields are those of the page."""

    request: Name
    account: Name | None = None
    cohort: Name | None = None
    conversation: Text | None = None
    epoch: Name | None = None
    epoch_id: Hex32 | None = None
    keys: dict[Channel, Hex32] | None = None
    scheme: Text | None = None
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)] | None = None
    shares: Text | None = None
    decoding: Annotated[dict[Reason, Setting], msgspec.Meta(max_length=32)] | None = None
    tokens: Count
    marked: dict[Channel, Positive]
    unmarked: Annotated[dict[Reason, Positive], msgspec.Meta(max_length=64)]
    forced: Count = 0
    tokenizer: Digest | None = None
    model: Text | None = None
    model_digest: Digest | None = None
    digest: Digest
    content: str | Content | None = None
    twin: Twin | None = None

    def check(self) -> None:
        """See `_Record`."""
        n_marked = sum(self.marked.values())
        if n_marked + sum(self.unmarked.values()) != self.tokens:
            raise LedgerError(f"marked and unmarked do not add up to tokens, which is {self.tokens}")
        if self.forced > n_marked:
            raise LedgerError(f"forced is {self.forced}, and only {n_marked} tokens are marked")
        keyed = (self.epoch, self.epoch_id, self.keys, self.scheme, self.width, self.shares)
        if keyed.count(None) not in (0, len(keyed)) or (self.epoch is None and n_marked):
            raise LedgerError("epoch, epoch_id, keys, scheme, width and shares, expected all, or none and no mark")
        if self.twin is not None and (not self.twin.id.endswith(TWIN_SUFFIX) or self.twin.served != self.request):
            raise LedgerError(f"request is {self.request!r}, and of twin {self.twin.id!r} another draw was served")

    def kept(self) -> list[Kept]:
        """What the record holds of contents."""
        return [self.content] if self.twin is None else [self.content, self.twin.content]

    @property
    def place(self) -> Place:
        """Where the answer's content stands."""
        return Place("answer", self.epoch or "", self.request)

    @property
    def twin_place(self) -> Place:
        """Where the twin's content stands."""
        return Place("twin", self.epoch or "", self.twin.id if self.twin else "")


class Assigned(_Record, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag="assigned"):
    """Who has a slot: the fields are those of the page."""

    epoch: Name
    channel: Literal["account", "cohort"]
    slot: Name
    digest: Digest
    content: str | Assignee | None = None

    def kept(self) -> list[Kept]:
        """What the record holds of contents."""
        return [self.content]

    @property
    def place(self) -> Place:
        """Where the content stands."""
        return Place("assigned", self.epoch, f"{self.channel}/{self.slot}")


Record = Opened | Served | Assigned

_RECORD: Final = msgspec.json.Decoder(Record)
_ENCODER: Final = msgspec.json.Encoder()


def encode(record: Record) -> bytes:
    """A record as JSON, in its one spelling.

    Raises:
        LedgerError: a record that no reader would take.
    """
    try:
        data = _ENCODER.encode(record)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise LedgerError(f"record cannot be written as JSON: {error}") from None
    decode(data)
    return data


def decode(data: bytes) -> Record:
    """The record in one spelling of JSON.

    Raises:
        LedgerError: not a record of this version, or in another spelling.
    """
    try:
        record: Any = _RECORD.decode(data)
        again = _ENCODER.encode(record)
    except RecursionError:
        raise LedgerError("nested too deeply, expected a record of version 1") from None
    except UnicodeDecodeError:
        raise LedgerError("not utf-8, expected a record of version 1") from None
    except msgspec.DecodeError as error:
        # What msgspec says names fields and types; what it quotes of the record is a field's name.
        raise LedgerError(f"not a record of version 1: {_first(str(error))}") from None
    except (TypeError, ValueError) as error:
        raise LedgerError(f"not a record of version 1: {type(error).__name__}") from None
    if again != data:
        raise LedgerError("another spelling than that of version 1: order, white space, numbers, a field twice or null")
    record.check()
    return record  # type: ignore[no-any-return]


def _first(text: str) -> str:
    text = text.splitlines()[0] if text else ""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text[:1].lower() + text[1:120]
