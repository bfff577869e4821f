"""Reading a ledger from its start: every record is checked, and what is wrong is located.

Normative text: docs/spec/ledger.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final, NamedTuple

from watermark.errors import LedgerError
from watermark.ledger.contents import Keeping
from watermark.ledger.lines import MAX_LINE_BYTES, START, Head, Line, parse
from watermark.ledger.records import Opened, Record, decode

_SKIP: Final = 1 << 20  # bytes of an endless line that are read at a time


@dataclass(frozen=True)
class Damage:
    """Something that is wrong, and where.

    Attributes:
        file: its name.
        line: from 1; 0 if it is not in a line.
        offset: of the line's first byte, from 0.
        record: the ordinal of the record that it is about.
        kind: a word of the page: `altered`, `missing`, `out of place`, ...
        reason: in words.
    """

    file: str
    line: int
    offset: int
    record: int
    kind: str
    reason: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line} (byte {self.offset}), record {self.record}" if self.line else self.file
        return f"{where}: {self.kind}: {self.reason}"


class Entered(NamedTuple):
    """A record in its place.

    Attributes:
        file: its name.
        line: from 1.
        record: what it says.
        keeping: how its file keeps contents.
    """

    file: str
    line: int
    record: Record
    keeping: Keeping


class Leapt(NamedTuple):
    """Lines of a file that were walked through elsewhere: they hold, follow from the head before and open no file.

    Attributes:
        stream: the file's bytes behind them.
        offset: of the first of these bytes, from the file's start.
        lines: how many were passed.
        head: behind the last of them.
    """

    stream: IO[bytes]
    offset: int
    lines: int
    head: Head


# Of (offset of a file's second line, head before it, how the file keeps contents); None to go on line by line.
Leap = Callable[[int, Head, Keeping], Leapt | None]


class Walk:
    """One way through a chain that may lie in several files; the state is the head so far.

    Args:
        on_damage: called for each thing that is wrong, in order.
        on_line: called with each line, without its end, before it is looked at.
        noted: a head that the chain is to pass.
        after: the head that the first record is to follow from; if None, any will do.

    Attributes:
        head: of what was read.
        sound: behind the last record before anything was wrong, or None.
        first: ordinal of the first record; above 0 if earlier files were not given.
        unfinished: bytes of the unfinished line at the end of the last file.
    """

    def __init__(
        self,
        *,
        on_damage: Callable[[Damage], None],
        on_line: Callable[[bytes], None] | None = None,
        noted: Head | None = None,
        after: Head | None = None,
    ) -> None:
        self.head = after or START
        self.sound: Head | None = None
        self.first: int | None = None if after is None else after.count
        self.unfinished = 0
        self._on_damage = on_damage
        self._on_line = on_line
        self._noted = noted
        # What the next record may state; None if anything.
        self._previous: tuple[bytes, ...] | None = None if after is None else (after.hash.encode(),)
        self._holds = True
        self._keeping: Keeping | None = None
        self._file = ""
        self._line = 0
        self._offset = 0

    def through(
        self, stream: IO[bytes], name: str, *, keeping: Keeping | None = None, leap: Leap | None = None
    ) -> Iterator[Entered]:
        """The records of one file, in order; of what is damaged, those that still hold by themselves.

        Args:
            stream: its bytes.
            name: of the file, for damages.
            keeping: how the file keeps contents, if the stream begins behind the record that says it.
            leap: asked once, behind a first line that holds, for lines that need not be walked through here.
        """
        self._file, self._line, self._offset, self.unfinished = name, 0, 0, 0
        self._keeping = keeping
        if self.first is None:
            self._previous = None
        while raw := stream.readline(MAX_LINE_BYTES + 1):
            self._line += 1
            size, entered = len(raw), None
            if raw[-1:] == b"\n":
                if (entered := self._take(raw[:-1])) is not None:
                    if self._holds:
                        self.sound = self.head
                    yield entered
            elif size > MAX_LINE_BYTES:
                size += _rest_of_line(stream)
                self._wrong("malformed", f"a line of {size} bytes, expected at most {MAX_LINE_BYTES}")
                self._advance(None)
            else:
                self._end(raw)
            self._offset += size
            if leap is not None:
                stream, leap = self._over(leap, stream, entered), None
        if not self._line or (self._line == 1 and self.unfinished):
            self._wrong("malformed", "the file has no complete record, expected at least the one that opens it")

    def finish(self) -> None:
        """Compare the end with the noted head, after the last file."""
        noted = self._noted
        if noted is not None and noted.count > self.head.count:
            missing = f"records {self.head.count} to {noted.count - 1} are missing"
            self._elsewhere("cut", f"it ends after {self.head.count} records, and the head counts {noted.count}: "
                            f"{missing}")  # fmt: skip
        elif noted is not None and self.first and noted.count < self.first:
            self._elsewhere("missing", f"the head counts {noted.count}, and the files begin at record {self.first}")

    def _over(self, leap: Leap, stream: IO[bytes], first: Entered | None) -> IO[bytes]:
        """What is still to be read of a file behind its first line."""
        leapt = None if first is None else leap(self._offset, self.head, first.keeping)
        if leapt is None:
            return stream
        self.head, self._previous = leapt.head, (leapt.head.hash.encode(),)
        self._line, self._offset = self._line + leapt.lines, leapt.offset
        if self._holds:
            self.sound = self.head
        return leapt.stream

    def _take(self, raw: bytes) -> Entered | None:
        if self._on_line is not None:
            self._on_line(raw)
        line = parse(raw)
        if line is None:
            self._wrong("malformed", "it does not begin and end as a line does, or bytes of it were changed")
            self._advance(None)
            return None
        expected = self.head.count
        if self.first is None:
            # Nothing is known of what came before: a chain may be looked at from a later file on.
            self.first = expected = line.ordinal if line.holds and line.ordinal else 0
            self._previous = None if expected else (START.hash.encode(),)
            if self._noted is not None and expected == self._noted.count:
                self._previous = (self._noted.hash.encode(),)
            self.head = Head(expected, START.hash)
        if not line.holds:
            self._wrong("altered", "the line does not have the hash that it states")
            self._advance(line)
            return None
        if line.ordinal < expected:
            self._wrong("out of place", f"record {line.ordinal} stands again, or late: record {expected} is due")
            return None
        if line.ordinal > expected:
            gap = f"records {expected} to {line.ordinal - 1} are" if line.ordinal - expected > 1 else "it is"
            self._wrong("missing", f"{gap} missing before record {line.ordinal}")
            self.head = Head(line.ordinal, self.head.hash)
        elif self._previous is not None and line.previous not in self._previous:
            self._wrong("replaced", "it does not follow from the record before it: one of the two was put there later")
        entered = self._read(line)
        self._advance(line)
        return entered

    def _read(self, line: Line) -> Entered | None:
        try:
            record = decode(b"{" + line.rest)
            if isinstance(record, Opened):
                self._keeping = record.keeping()
            elif self._keeping is None and self._line == 1:
                raise LedgerError("the first record of a file, expected the one that opens it")
            elif self._keeping is not None and not all(map(self._keeping.fits, record.kept())):
                raise LedgerError(f"contents are not kept as the file says, which is {self._keeping.contents!r}")
        except LedgerError as error:
            self._wrong("malformed", str(error))
            return None
        if self._keeping is None:
            return None  # the first line was damaged, which was said
        return Entered(self._file, self._line, record, self._keeping)

    def _advance(self, line: Line | None) -> None:
        count = self.head.count + 1
        if line is None:
            self._previous, self.head = None, Head(count, START.hash)
        else:
            # Of an altered line either the hash or the rest was changed: the next record tells which.
            self._previous = (line.actual,) if line.holds else (line.actual, line.hash)
            self.head = Head(count, line.actual.decode())
        if self._noted is not None and count == self._noted.count and self.head.hash != self._noted.hash:
            self._wrong("rewritten", "its hash is not the one that was noted: it, or records before it, were replaced",
                        record=count - 1)  # fmt: skip

    def _end(self, raw: bytes) -> None:
        """What follows the last line end."""
        cut = parse(raw[:-1])
        if cut is not None and cut.holds:
            self._take(raw[:-1])
            self._wrong("altered", "its line end was changed", record=cut.ordinal)
        else:
            self.unfinished = len(raw)

    def _wrong(self, kind: str, reason: str, *, record: int | None = None) -> None:
        about = self.head.count if record is None else record
        self._holds = False
        self._on_damage(Damage(self._file, self._line, self._offset, about, kind, reason))

    def _elsewhere(self, kind: str, reason: str) -> None:
        self._holds = False
        self._on_damage(Damage(self._file, 0, 0, self.head.count, kind, reason))


def _rest_of_line(stream: IO[bytes]) -> int:
    size = 0
    while piece := stream.readline(_SKIP):
        size += len(piece)
        if piece[-1:] == b"\n":
            break
    return size


def records(stream: IO[bytes], name: str, walk: Walk | None = None) -> Iterator[Entered]:
    """The records of a ledger that holds from its start to its end.

    Args:
        stream: its bytes.
        name: of the file.
        walk: to go on in the next file of one chain; its `on_damage` should be `refuse`.

    Raises:
        LedgerError: at the first thing that is wrong.
    """
    yield from (walk or Walk(on_damage=refuse)).through(stream, name)


def refuse(damage: Damage) -> None:
    """Raise for a damage.

    Raises:
        LedgerError: always.
    """
    raise LedgerError(str(damage), hint="radiolabel ledger check lists all that is wrong")
