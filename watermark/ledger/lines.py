"""Lines of a ledger: how records are chained. Normative text: docs/spec/ledger.md, sections 1 and 6.

Symbols: n the ordinal of a record, h_n its hash, h_{-1} 64 zeros; d_n the line's bytes behind the hash.

    h_n = SHA-256(d_n), and d_n begins with h_{n-1} and n
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final, NamedTuple

from watermark.errors import LedgerError

MAX_LINE_BYTES: Final = 1 << 26
MAX_COUNT: Final = 1 << 53
FIRST: Final = b"0" * 64

_HASHED_FROM: Final = len('{"hash":"",') + 64
_LINE: Final = re.compile(
    rb'\{"hash":"([0-9a-f]{64})","previous":"([0-9a-f]{64})","ordinal":(0|[1-9][0-9]{0,15}),(?=")'
)
_HEAD_FILE: Final = re.compile(
    rb'\{"radiolabel":"ledger-head","version":1,"count":([1-9][0-9]{0,15}),"hash":"([0-9a-f]{64})"\}\n'
)
_HEAD_TEXT: Final = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{64})")


class Line(NamedTuple):
    """A line that begins as one should.

    Attributes:
        hash: as it is stated, 64 hexadecimal digits.
        previous: likewise.
        ordinal: likewise.
        rest: the record's JSON without its opening brace.
        actual: the hash that it has.
    """

    hash: bytes
    previous: bytes
    ordinal: int
    rest: bytes
    actual: bytes

    @property
    def holds(self) -> bool:
        """Whether the stated hash is the line's."""
        return self.hash == self.actual


@dataclass(frozen=True)
class Head:
    """What fixes a chain up to one record.

    Attributes:
        count: records up to and with that one.
        hash: of it, 64 hexadecimal digits; 64 zeros before the first record.
    """

    count: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Head:
        """From `COUNT:HASH`.

        Raises:
            LedgerError: of another form.
        """
        if not (found := _HEAD_TEXT.fullmatch(text)):
            raise LedgerError(f"head {text[:80]!r}, expected COUNT:HASH, with a hash of 64 digits of 0-9a-f")
        return cls(int(found[1]), found[2])

    @classmethod
    def from_json(cls, data: bytes, name: str) -> Head:
        """From the bytes of a head file.

        Raises:
            LedgerError: of another form.
        """
        if not (found := _HEAD_FILE.fullmatch(data)):
            raise LedgerError(f"{name}: not a head file of version 1", hint="radiolabel ledger head -o writes one")
        return cls(int(found[1]), found[2].decode())

    def to_json(self) -> bytes:
        """The bytes of a head file."""
        fields = f'"radiolabel":"ledger-head","version":1,"count":{self.count},"hash":"{self.hash}"'
        return b"{" + fields.encode() + b"}\n"

    def __str__(self) -> str:
        return f"{self.count}:{self.hash}"


START: Final = Head(0, FIRST.decode())


def chained(record: bytes, head: Head) -> tuple[bytes, Head]:
    """A record as the next line of a chain: (line with its end, the head behind it).

    Args:
        record: JSON of an object with at least one field.
        head: of the chain so far.

    Raises:
        LedgerError: the line would be too long.
    """
    behind = b'"previous":"%b","ordinal":%d,%b' % (head.hash.encode(), head.count, record[1:])
    hash_ = hashlib.sha256(behind).hexdigest()
    line = b'{"hash":"%b",%b\n' % (hash_.encode(), behind)
    if len(line) > MAX_LINE_BYTES:
        raise LedgerError(f"a record of {len(line)} bytes, expected at most {MAX_LINE_BYTES}")
    return line, Head(head.count + 1, hash_)


def parse(line: bytes) -> Line | None:
    """A line without its end, or None if it does not begin, or end, as one does."""
    if not (found := _LINE.match(line)) or not line.endswith(b"}"):
        return None
    hash_, previous, ordinal = found.groups()
    actual = hashlib.sha256(memoryview(line)[_HASHED_FROM:]).hexdigest().encode()
    return Line(hash_, previous, int(ordinal), line[found.end() :], actual)
