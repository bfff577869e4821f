"""What a record with timestamps has: tokens, and the digest that they are over.

Normative text: docs/spec/commitment.md, sections 1, 2 and 7.
"""

from __future__ import annotations

import base64
import re
from typing import Annotated, Any, ClassVar, Final, Self

import msgspec

from verify.canonical import canonical, digest
from verify.errors import InputError, quoted

MAX_TOKENS: Final = 16
MAX_TOKEN_BYTES: Final = 1 << 16

_Token = Annotated[str, msgspec.Meta(max_length=(MAX_TOKEN_BYTES + 2) // 3 * 4)]
_Tokens = Annotated[tuple[_Token, ...], msgspec.Meta(max_length=MAX_TOKENS)]


class Stamped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record whose digest leaves its timestamps out, so that they can be added and change no digest."""

    what: ClassVar[str]
    timestamps: _Tokens = ()

    def fields(self) -> dict[str, Any]:
        """The object of the file."""
        raise NotImplementedError

    def body(self) -> bytes:
        """What the digest is of."""
        return canonical({k: v for k, v in self.fields().items() if k != "timestamps"}, self.what)

    @property
    def digest(self) -> str:
        """Names this record."""
        return digest(self.body())

    def tokens(self) -> list[bytes]:
        """The timestamp tokens, DER."""
        return [base64.b64decode(text, validate=True) for text in self.timestamps]

    def stamped(self, token: bytes) -> Self:
        """The same record with one more token."""
        return msgspec.structs.replace(self, timestamps=(*self.timestamps, base64.b64encode(token).decode()))

    def check_tokens(self, where: str) -> None:
        """Refuse timestamps that are not in the one spelling of base64.

        Raises:
            InputError: such a one.
        """
        for index, text in enumerate(self.timestamps):
            try:
                same = base64.b64encode(base64.b64decode(text, validate=True)).decode() == text != ""
            except ValueError:
                same = False
            if not same:
                raise InputError(f"{where}: timestamps[{index}] is {quoted(text)}, expected a token in base64")


def convert(value: dict[str, Any], name: str, what: str, kind: Any, version: int) -> Any:
    """The record that a decoded object is, every field of it as its type says.

    Args:
        value: from `verify.canonical`.
        name: what errors call the file.
        what: its `radiolabel`.
        kind: a Struct with `fields`, or a union of such.
        version: the one that is known.

    Raises:
        InputError: another version, or a field that is unknown, missing, null or of another type.
    """
    stated = value.get("version")
    if type(stated) is not int or stated != version:
        raise InputError(f"{name}: {what} version is {quoted(stated)}, expected {version}")
    try:
        record = msgspec.convert({k: v for k, v in value.items() if k not in ("radiolabel", "version")}, kind)
    except msgspec.ValidationError as error:
        # Its words name the field and what was expected; a value is quoted only where it is a tag.
        reason = re.sub(r"`", "", str(error))
        raise InputError(f"{name}: not a valid {what}: {reason[:1].lower()}{reason[1:]}") from None
    if canonical(record.fields()) != canonical(value):
        raise InputError(f"{name}: a field is null or left out, expected every field of its kind")
    return record
