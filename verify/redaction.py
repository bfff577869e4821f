"""Pairs without their texts: enough for the twin test on likelihoods. Normative text: docs/spec/pair.md, section 6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from verify.accounts.sealing import Sealed, alias
from verify.errors import InputError, Refused
from verify.inputs.lines import read_lines
from verify.pairs import PAIR, REDACTED, AnyPair, Pair, apart, convert, line_of, pair
from verify.records import Digest


class RedactedPair(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a pair says apart from its prompt, texts and token ids.

    Attributes:
        digests: of the members that were left out; whoever opens the pair shows that they are these.
        equal: whether both members have the same text.

    The other fields are those of `verify.pairs.Pair`.
    """

    id: str
    account: str | None = None
    conversation: str | None = None
    model: str | None = None
    tokenizer: Digest | None = None
    request: str | None = None
    served: Literal[0, 1]
    drawn: Literal["serving", "later"]
    digests: tuple[Digest, Digest]
    replayed: bool | None = None
    equal: bool

    def to_json(self) -> bytes:
        """The record as one line without its end.

        Raises:
            InputError: a value that a reader would refuse.
        """
        return line_of(self, REDACTED, redacted_pair)


def redacted(pair: Pair) -> RedactedPair:
    """The same pair without its texts; of one pair always the same, byte for byte."""
    return RedactedPair(**{name: getattr(pair, name) for name in RedactedPair.__struct_fields__})


def aliased(pair: AnyPair, sealed: Sealed) -> AnyPair:
    """The same pair, its account and conversation under the names that a sealed file gives them.

    Args:
        pair: with its texts or without.
        sealed: who is who.

    Raises:
        Refused: an account that is not in the file, or ids that hold its name; nobody is named.
    """
    if pair.account is not None:
        for field in ("id", "request", "model"):
            text = getattr(pair, field)
            if text is not None and sealed.betrays(pair.account, text):
                raise Refused(
                    f"the {field} of a pair holds the name of its account, expected ids that name nobody",
                    hint="coins follow from ids, which cannot be changed later: serve with ids that say nothing",
                )
    return msgspec.structs.replace(
        pair,
        account=None if pair.account is None else alias(sealed.number(pair.account)),
        conversation=None if pair.conversation is None else sealed.conversation(pair.conversation),
    )


def redacted_pair(record: object, where: str) -> RedactedPair:
    """Check a decoded JSON value.

    Raises:
        InputError: not a redacted pair, one of a later version, or one with a field more, such as a text.
    """
    found = convert(record, where, REDACTED, RedactedPair)
    if found.digests[0] == found.digests[1] and not found.equal:
        raise InputError(f"{where}: equal is False, and both digests are the same, expected True")
    return found


def read_twins(path: str) -> Iterator[Pair | RedactedPair]:
    """The pairs of a file in order, all with their texts or all redacted; see `verify.pairs.read_pairs`.

    Raises:
        InputError: also when both kinds are in the file.
        Refused: see `verify.pairs.read_pairs`.
    """
    return apart(_twins(path))


def _twins(path: str) -> Iterator[tuple[str, Pair | RedactedPair]]:
    kind: object = None
    for where, record in read_lines(path, PAIR):
        own = record.get("radiolabel") if isinstance(record, dict) else None
        kind = kind or own
        if own != kind and {own, kind} == {PAIR, REDACTED}:
            raise InputError(f"{where}: a {own} after a {kind}, expected one kind in a file")
        yield where, redacted_pair(record, where) if own == REDACTED else pair(record, where)
