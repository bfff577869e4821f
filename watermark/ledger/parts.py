"""Walking parts of one file apart: optimistic, for a file that holds.

A part begins at any line and takes that line's word for what came before; where parts are joined, each has to follow
from the one before it. So parts that hold and join are what `Walk` would have passed line by line. Of anything else
nothing is told here: `Walk` goes through it itself, and names and locates what is wrong.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Final

from watermark.errors import LedgerError
from watermark.ledger.contents import Keeping
from watermark.ledger.folds import Fold
from watermark.ledger.lines import MAX_LINE_BYTES, Head, parse
from watermark.ledger.records import Opened
from watermark.ledger.walking import Walk, refuse

LEAST_BYTES: Final = 1 << 26  # of a part; a process takes about as long to start as to walk through half of it
_BUFFER: Final = 1 << 18
_BACK: Final = 1 << 20  # bytes that are searched at a time for the last line end


class UnjoinedError(Exception):
    """A part is damaged, opens another file, or does not follow from the one before; never leaves a leap."""


@dataclass(frozen=True)
class Part:
    """Whole lines of one file.

    Attributes:
        index: which part, from 0.
        path: of the file.
        start: of the first line, in bytes from the file's start.
        end: behind the last line's end, likewise.
        keeping: how the file keeps contents.
        noted: a head that the chain is to pass, or None.
        fold: empty, to take in the records.
    """

    index: int
    path: str
    start: int
    end: int
    keeping: Keeping
    noted: Head | None
    fold: Fold


@dataclass(frozen=True)
class Walked:
    """A part that holds by itself.

    Attributes:
        index: which.
        before: the head that its first line states.
        head: behind its last line.
        fold: of its records.
    """

    index: int
    before: Head
    head: Head
    fold: Fold


def split(file: IO[bytes], start: int, *, parts: int, least: int = LEAST_BYTES) -> list[tuple[int, int]]:
    """Cut a file at line ends, up to the last one that it has: (first byte, byte behind the last) of each part.

    Args:
        file: a seekable one.
        start: of the first line that is to be in a part.
        parts: how many at most.
        least: bytes of a part, at least.

    Returns:
        At least two parts, or none of a short file and of one with a line that is too long.
    """
    end = _last_line_end(file)
    n = min(parts, (end - start) // least)
    bounds = [start]
    for k in range(1, n):
        file.seek(max(start + (end - start) * k // n, bounds[-1]))
        if not file.readline(MAX_LINE_BYTES + 1).endswith(b"\n"):
            return []
        if file.tell() < end:
            bounds.append(file.tell())
    return list(zip(bounds, [*bounds[1:], end], strict=True)) if len(bounds) > 1 else []


def _last_line_end(file: IO[bytes]) -> int:
    end = file.seek(0, os.SEEK_END)
    stop = max(end - MAX_LINE_BYTES, 0)
    while end > stop:
        begin = max(end - _BACK, stop)
        file.seek(begin)
        if (found := file.read(end - begin).rfind(b"\n")) >= 0:
            return begin + found + 1
        end = begin
    return 0


def walk_part(part: Part) -> Walked | None:
    """Walk through a part as through a ledger that begins there; None unless every line holds and none opens a file."""
    try:
        with open(part.path, "rb", buffering=0) as file:
            size = part.end - part.start
            first = parse(reader(file, part.start, size).readline(MAX_LINE_BYTES + 1)[:-1])
            if first is None:
                return None
            before = Head(first.ordinal, first.previous.decode())
            walk = Walk(on_damage=refuse, noted=part.noted, after=before)
            stream = reader(file, part.start, size)
            for entered in walk.through(stream, part.path, keeping=part.keeping):
                if isinstance(entered.record, Opened):
                    return None
                part.fold.add(entered.record)
            whole = file.tell() == part.end and not walk.unfinished
            return Walked(part.index, before, walk.head, part.fold) if whole else None
    except (LedgerError, OSError):
        return None


def joined(found: Iterable[Walked | None], head: Head) -> Iterator[Walked]:
    """Parts in their order, each when all before it are there.

    Args:
        found: of all parts of a file, in any order.
        head: behind the line before the first part.

    Raises:
        UnjoinedError: a part does not hold, or does not follow from the one before.
    """
    waiting: dict[int, Walked] = {}
    due = 0
    for walked in found:
        if walked is None:
            raise UnjoinedError
        waiting[walked.index] = walked
        while (following := waiting.pop(due, None)) is not None:
            if following.before != head:
                raise UnjoinedError
            yield following
            head, due = following.head, due + 1


def reader(file: IO[bytes], start: int, size: int | None = None) -> io.BufferedReader:
    """The bytes of an open file from one place on.

    Args:
        file: a seekable one; it stays open.
        start: of the first byte.
        size: how many, or None for all that come.

    Raises:
        LedgerError: from later reads, when reading fails.
    """
    file.seek(start)
    return io.BufferedReader(_Range(file, size), buffer_size=_BUFFER)


class _Range(io.RawIOBase):
    def __init__(self, file: Any, left: int | None) -> None:
        self._file = file
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            size: int = self._file.readinto(memoryview(buffer)[: self._left])
        except OSError as error:
            raise LedgerError(f"the ledger cannot be read on: {(error.strerror or str(error)).lower()}") from None
        if self._left is not None:
            self._left -= size
        return size
