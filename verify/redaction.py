"""Pairs without their texts: enough for the twin test on likelihoods. Normative text: docs/spec/pair.md, section 6."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from verify.errors import InputError
from verify.inputs.lines import read_lines
from verify.pairs import PAIR, REDACTED, Pair, apart, convert, line_of, pair
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
