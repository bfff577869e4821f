"""Appending to a ledger: any number of threads and processes, and a kill at any moment loses nothing acknowledged.

Normative text: docs/spec/ledger.md, section 4.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from watermark.errors import LedgerError
from watermark.ledger.answers import Entry, stated
from watermark.ledger.contents import Keeping
from watermark.ledger.files import Lock, open_regular, reason_of, shown
from watermark.ledger.lines import MAX_LINE_BYTES, START, Head, chained, parse
from watermark.ledger.records import VERSION, Opened, decode, encode

_BACK: Final = 1 << 15  # bytes of the end that are read at a time, to find the last line
_MAX_OPENED: Final = 4096


@dataclass(frozen=True)
class Receipt:
    """An acknowledged record.

    Attributes:
        ordinal: its place in the chain.
        hash: of it, 64 hexadecimal digits.
    """

    ordinal: int
    hash: str

    @property
    def head(self) -> Head:
        """What fixes the chain up to this record."""
        return Head(self.ordinal + 1, self.hash)


class Ledger:
    """A file that this process appends to: `Ledger.create` or `Ledger.open`.

    It may be used by several threads. After a fork the child opens the file again by itself.

    Attributes:
        path: of the file.
        keeping: how it keeps contents.
    """

    def __init__(self, path: Path, *, sealing: str | None = None) -> None:
        self.path = path
        self._broken = ""
        self._sealing = sealing
        self._head = START
        self._end = -1  # not known
        self._descriptor = -1  # not open
        self._lock: Lock
        self._attach()
        try:
            with self._lock():
                self._catch_up()
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(cls, path: str | Path, *, keeping: Keeping, after: Head = START, time: datetime | None = None) -> Ledger:
        """A new file.

        Args:
            path: of a file that does not exist.
            keeping: how contents are kept.
            after: the head of the file whose chain this one takes up.
            time: when it is made; now if None.

        Raises:
            LedgerError: the file exists or cannot be made.
        """
        target = Path(path)
        opened = Opened(
            version=VERSION,
            time=stated(time),
            ledger=secrets.token_hex(16),
            contents=keeping.contents,
            sealing=keeping.sealing,
        )
        line, _ = chained(encode(opened), after)
        _write_new(target, line)
        return cls.open(target, sealing=keeping.sealing)

    @classmethod
    def open(cls, path: str | Path, *, sealing: str | None = None) -> Ledger:
        """A file that exists.

        Args:
            path: of the file.
            sealing: the public key that it must seal contents for; None takes the file's word.

        Raises:
            LedgerError: it is no ledger, is damaged at its end, or seals for another key.
        """
        return cls(Path(path), sealing=sealing)

    def append(self, entry: Entry) -> Receipt:
        """Keep one record; returns when it is on disk.

        Raises:
            LedgerError: it was not kept, or nobody can tell.
        """
        return self.append_many([entry])[0]

    def append_many(self, entries: Iterable[Entry]) -> list[Receipt]:
        """Keep some records, one behind the other; returns when they are on disk. See `append`."""
        records = [entry.kept(self.keeping) for entry in entries]
        self._after_fork()
        if self._broken:
            raise LedgerError(
                f"ledger {shown(self.path)}: an earlier fsync failed: {self._broken}",
                hint="find out what the disk holds, with radiolabel ledger check, and open it again",
            )
        with self._lock():
            self._catch_up()
            lines, receipts, head = [], [], self._head
            for record in records:
                line, head = chained(record, head)
                lines.append(line)
                receipts.append(Receipt(head.count - 1, head.hash))
            self._write(b"".join(lines))
            self._head = head
        try:
            # Without the lock, so that others write meanwhile; the system joins the syncs of all who wait.
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._broken = reason_of(error)
            raise LedgerError(f"ledger {shown(self.path)}: fsync failed: {self._broken}",
                              hint="whether the record is on disk is not known") from None  # fmt: skip
        return receipts

    def head(self) -> Head:
        """What fixes all records in the file now."""
        self._after_fork()
        with self._lock():
            self._catch_up()
            return self._head

    def close(self) -> None:
        """Give the descriptor back; nothing can be appended afterwards."""
        descriptor, self._descriptor = self._descriptor, -1  # the system gives the number to the next file
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _attach(self) -> None:
        self._descriptor = open_regular(self.path, os.O_RDWR | os.O_APPEND, "ledger")
        try:
            self._lock = Lock(self._descriptor)
            self.keeping = self._opening().keeping()
            if self._sealing is not None and self.keeping.sealing != self._sealing:
                raise LedgerError(
                    f"ledger {shown(self.path)} does not seal for the key that was asked for",
                    hint="start a new file with radiolabel ledger new --after, sealed for that key",
                )
        except BaseException:
            self.close()
            raise
        self._process = os.getpid()
        self._end = -1

    def _after_fork(self) -> None:
        if self._descriptor < 0:
            raise LedgerError(f"ledger {shown(self.path)} was closed", hint="open it again")
        # A child shares the open file, and so the lock, with its parent: it needs one of its own.
        if os.getpid() != self._process:
            self.close()
            self._attach()

    def _opening(self) -> Opened:
        data = os.pread(self._descriptor, _MAX_OPENED, 0)
        raw, ended, _ = data.partition(b"\n")
        line = parse(raw)
        try:
            record = decode(b"{" + line.rest) if ended and line is not None and line.holds else None
        except LedgerError:
            record = None
        if not isinstance(record, Opened):
            raise LedgerError(f"{shown(self.path)} is not a ledger: it does not begin with a record that opens one",
                              hint="radiolabel ledger new makes one")  # fmt: skip
        return record

    # What follows is called with the lock held.

    def _catch_up(self) -> None:
        """Find the last record, whoever wrote it, and put right what a dead process left."""
        status = os.fstat(self._descriptor)
        size = status.st_size
        if not status.st_nlink:  # to acknowledge what nobody can read again would be a lie
            raise LedgerError(f"ledger {shown(self.path)} was removed while it was open",
                              hint="restore it, or begin the next file with radiolabel ledger new --after")  # fmt: skip
        if size == self._end:
            return
        end, rest = self._last_line_end(size)
        line = parse(self._line_before(end))
        if line is None or not line.holds:
            raise self._damaged("its last record does not have its hash")
        self._head, self._end = Head(line.ordinal + 1, line.hash.decode()), end
        if rest:
            self._repair(rest)

    def _repair(self, rest: bytes) -> None:
        whole, but_last = parse(rest), parse(rest[:-1])
        if but_last is not None and but_last.holds:
            raise self._damaged("the end of its last line was changed")
        if whole is not None and whole.holds and whole.previous == self._head.hash.encode():
            self._write(b"\n", at=self._end + len(rest))
            self._head = Head(whole.ordinal + 1, whole.hash.decode())
        else:
            os.ftruncate(self._descriptor, self._end)

    def _last_line_end(self, size: int) -> tuple[int, bytes]:
        """(bytes up to and with the last LF, what follows it)."""
        rest = b""
        at = size
        while at:
            begin = max(at - _BACK, 0)
            chunk = os.pread(self._descriptor, at - begin, begin)
            cut = chunk.rfind(b"\n")
            if cut >= 0:
                return begin + cut + 1, chunk[cut + 1 :] + rest
            rest = chunk + rest
            at = begin
            if len(rest) > MAX_LINE_BYTES:
                break
        raise self._damaged("it has no line end where one should be")

    def _line_before(self, end: int) -> bytes:
        """The line that ends there, without its end."""
        pieces: list[bytes] = []
        at = end - 1
        while at > 0 and end - at <= MAX_LINE_BYTES:
            begin = max(at - _BACK, 0)
            chunk = os.pread(self._descriptor, at - begin, begin)
            cut = chunk.rfind(b"\n")
            pieces.append(chunk[cut + 1 :])
            if cut >= 0:
                break
            at = begin
        return b"".join(reversed(pieces))

    def _write(self, data: bytes, *, at: int | None = None) -> None:
        start = self._end if at is None else at
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except BaseException as error:  # also when interrupted: half a line is nobody's record
            with suppress(OSError):
                os.ftruncate(self._descriptor, start)
            if isinstance(error, OSError):
                raise LedgerError(f"ledger {shown(self.path)} cannot be written: {reason_of(error)}") from None
            raise
        self._end = start + len(data)

    def _damaged(self, what: str) -> LedgerError:
        return LedgerError(
            f"ledger {shown(self.path)} is damaged: {what}",
            hint="radiolabel ledger check tells where; radiolabel ledger new --after takes up the chain in a new file",
        )


def _write_new(path: Path, data: bytes) -> None:
    """A file that appears whole under its name, and on disk."""
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")  # mode 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.link(temporary, path)  # unlike a rename, it replaces nothing
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise LedgerError(
            f"ledger {shown(path)} exists, and a ledger is never replaced", hint="choose another name"
        ) from None
    except (OSError, ValueError) as error:
        raise LedgerError(f"ledger {shown(path)} cannot be made: {reason_of(error)}") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
