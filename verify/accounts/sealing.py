"""Accounts under aliases, and the sealed file that says who is who. Normative text: docs/spec/pseudonym.md.

Symbols: K the file's secret, a an account's name, LP a text after its length, MTH the tree hash of `verify.merkle`.

    place(a) = HMAC-SHA256(K, LP("radiolabel/v1/alias-place") LP(a))       the alias's number is the rank of the place
    salt(a)  = HMAC-SHA256(K, LP("radiolabel/v1/alias-salt") LP(a))
    leaf(a)  = HMAC-SHA256(salt(a), LP("radiolabel/v1/alias") LP(a))       root = MTH of the leaves by number

Names are guessed easily, and K is not: without it neither alias nor leaf says whether a guess is right. A leaf is
opened by its salt, which says nothing about K or any other salt.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final

import msgspec

from verify.canonical import canonical, parse_canonical, read_canonical
from verify.errors import InputError, Refused, quoted
from verify.inputs.streams import display_name
from verify.merkle import Inclusion, tree_of
from verify.plan_parts import Hex32, Positive
from verify.private import read_private
from watermark.secret import Secret

VERSION: Final = 1
MAX_ACCOUNTS: Final = 1 << 20
MAX_BYTES: Final = 1 << 28
PREFIX: Final = "alias-"
_GUESSED: Final = 5  # characters; a shorter name stands in many an id by chance
_ALIAS: Final = re.compile(r"alias-([1-9][0-9]{0,6})")

Account = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


def alias(number: int) -> str:
    """What an account is called, by its number from 1."""
    return f"{PREFIX}{number}"


def is_alias(name: str) -> bool:
    """Whether a name has an alias's form."""
    return _ALIAS.fullmatch(name) is not None


def number_of(name: str, most: int) -> int:
    """The number of an alias.

    Args:
        name: an alias.
        most: the largest number that there is.

    Raises:
        Refused: it is none.
    """
    found = _ALIAS.fullmatch(name)
    if found is None or int(found[1]) > most:
        raise Refused(
            f"an account is called {quoted(name)}, expected {PREFIX}1 to {PREFIX}{most}",
            hint="evidence names no account: radiolabel redact --aliases",
        )
    return int(found[1])


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    accounts: Annotated[tuple[Account, ...], msgspec.Meta(min_length=1, max_length=MAX_ACCOUNTS)]
    radiolabel: str
    root: Hex32
    secret: Hex32
    version: int


@dataclass(frozen=True, eq=False)
class Sealed:
    """Who is who.

    Attributes:
        secret: K, 32 bytes.
        accounts: names by number, from 1.
    """

    secret: Secret
    accounts: tuple[str, ...] = field(repr=False)

    @classmethod
    def of(cls, secret: Secret, names: Iterable[str]) -> Sealed:
        """The numbering that a secret gives to names.

        Raises:
            InputError: a name that is empty or too long.
            Refused: no name, or too many.
        """
        distinct = set(names)
        for name in distinct:
            if not 1 <= len(name) <= 1000:
                raise InputError(f"an account's name has {len(name):,} characters, expected 1 to 1,000")
        if not 1 <= len(distinct) <= MAX_ACCOUNTS:
            raise Refused(f"{len(distinct):,} accounts, expected 1 to {MAX_ACCOUNTS:,}")
        return cls(secret, tuple(sorted(distinct, key=lambda name: _of(secret, "alias-place", name))))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number by name."""
        return {name: number for number, name in enumerate(self.accounts, 1)}

    @cached_property
    def root(self) -> str:
        """The commitment to names and numbers, in hexadecimal."""
        return tree_of(map(self._leaf, self.accounts)).root().hex()

    def number(self, name: str) -> int:
        """An account's number.

        Raises:
            Refused: an account that is not in the file; it is not named.
        """
        if name not in self.numbers:
            raise Refused(
                "an account is not in the sealed file, expected all that the pairs name",
                hint="radiolabel aliases new, of all the pairs",
            )
        return self.numbers[name]

    def conversation(self, name: str) -> str:
        """What a conversation is called: the same for the same name, and nothing else is known of it."""
        return _of(self.secret, "alias-conversation", name)[:16].hex()

    def betrays(self, name: str, text: str) -> bool:
        """Whether a text, such as a request's id, holds an account's name."""
        return len(name) >= _GUESSED and _plain(name) in _plain(text)

    def opening(self, name: str) -> Opening:
        """What opens one account and no other.

        Raises:
            Refused: see `number`.
        """
        number = self.number(name)
        found = tree_of(map(self._leaf, self.accounts), watch=number - 1).inclusion()
        return Opening(
            account=name,
            number=number,
            salt=_of(self.secret, "alias-salt", name).hex(),
            size=found.size,
            root=found.root.hex(),
            siblings=tuple(s.hex() for s in found.siblings),
        )

    def to_json(self) -> bytes:
        """The whole file: it is secret."""
        fields = {"accounts": list(self.accounts), "radiolabel": "aliases", "root": self.root, "version": VERSION}
        return canonical(fields | {"secret": self.secret.reveal().hex()}, "aliases") + b"\n"

    def _leaf(self, name: str) -> bytes:
        return leaf_of(_of(self.secret, "alias-salt", name), name)


class Opening(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which account one alias is, and that this was fixed.

    Attributes:
        account: its name.
        number: of the alias.
        salt: of this account alone.
        size: aliases that there are.
        root: of all of them.
        siblings: from the leaf up.
    """

    what: ClassVar[str] = "opening"
    account: Account
    number: Positive
    salt: Hex32
    size: Positive
    root: Hex32
    siblings: Annotated[tuple[Hex32, ...], msgspec.Meta(max_length=64)]

    @property
    def holds(self) -> bool:
        """Whether name, number and salt are those under the root."""
        siblings = tuple(map(bytes.fromhex, self.siblings))
        inclusion = Inclusion(self.size, bytes.fromhex(self.root), self.number - 1, siblings)
        return inclusion.holds(leaf_of(bytes.fromhex(self.salt), self.account))

    def to_json(self) -> bytes:
        """The whole file."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return canonical({"radiolabel": self.what, "version": VERSION} | fields, self.what) + b"\n"


def leaf_of(salt: bytes, name: str) -> bytes:
    """What an opening is checked against, 32 bytes."""
    return hmac.digest(salt, _prefixed("radiolabel/v1/alias") + _prefixed(name), "sha256")


def read_sealed(path: str) -> Sealed:
    """The sealed file: who is who.

    Raises:
        InputError: unreadable, open to others than its owner, or not such a file; what it holds is not quoted.
    """
    name = display_name(path)
    value = parse_canonical(read_private(path, name, MAX_BYTES), name, limit=MAX_BYTES)
    try:
        raw = msgspec.convert(value, _File)
    except msgspec.ValidationError:  # its message could quote a name
        raw = None
    if raw is None or raw.radiolabel != "aliases" or raw.version != VERSION:
        raise InputError(f"{name}: not a sealed file of aliases of version {VERSION}, expected one")
    found = Sealed.of(Secret(bytes.fromhex(raw.secret)), raw.accounts)
    if found.accounts != raw.accounts or found.root != raw.root:
        raise InputError(f"{name}: names, order, secret and root do not belong together, expected those of one file")
    return found


def read_opening(path: str) -> Opening:
    """The opening in a file; whether it holds is another question.

    Raises:
        InputError: unreadable, or not an opening.
    """
    name, value = display_name(path), read_canonical(path)
    fields = {k: v for k, v in value.items() if k not in ("radiolabel", "version")}
    if (value.get("radiolabel"), value.get("version")) != (Opening.what, VERSION):
        raise InputError(f"{name}: radiolabel is {quoted(value.get('radiolabel'))}, expected 'opening', version 1")
    try:
        return msgspec.convert(fields, Opening)
    except msgspec.ValidationError as error:
        reason = str(error).replace("`", "")
        raise InputError(f"{name}: {reason[:1].lower()}{reason[1:]}, expected an opening") from None


def _plain(text: str) -> str:
    """Without what two spellings of a name may differ in."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _of(secret: Secret, label: str, name: str) -> bytes:
    return hmac.digest(secret.reveal(), _prefixed(f"radiolabel/v1/{label}") + _prefixed(name), "sha256")


def _prefixed(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(2, "little") + raw
