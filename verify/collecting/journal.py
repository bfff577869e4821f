"""The answers on disk: transcripts in the order they came, one line each, never rewritten.

A line is written whole and at once, so that after a kill at any moment only the last one can be cut.
Every line states the settings it was collected with: a file holds answers to the same prompts under the same settings.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, Final

import msgspec

from verify.decoding import printable
from verify.errors import InputError, Refused, quoted
from verify.inputs import MAX_LINE_BYTES
from verify.locking import lock
from verify.records import Count, Transcript, transcript_from_json

SYNC_SECONDS: Final = 1.0
BEGINNING: Final = b'{"radiolabel":"transcript"'


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`meta` of a collected answer.

    Attributes:
        settings: it was collected with.
        requests: sent for the file until then, retries and those in flight included.
        nonce: from the plan's timestamp, if it was asked under one.
        finish_reason, usage, system_fingerprint, created, id: as the endpoint said.
    """

    settings: dict[str, Any]
    requests: Count
    nonce: str | None = None
    finish_reason: str | None = None
    usage: dict[str, Count] | None = None
    system_fingerprint: str | None = None
    created: int | None = None
    id: str | None = None


class Journal:
    """An open file of answers that this process alone writes. Made by `open_journal`."""

    def __init__(self, file: IO[bytes], path: str, settings: dict[str, Any]) -> None:
        self._file, self._path = file, path
        self._synced = time.monotonic()
        self.name = printable(path)
        self.settings = settings
        self.numbers: set[int] = set()

    def replay(self) -> Iterator[tuple[Transcript, Meta]]:
        """The answers of earlier runs, in the order they came; to be read to its end before anything is appended.

        A last line that was cut is removed from the file.

        Raises:
            InputError: a line that is not an answer of a collection, or an id that occurs twice.
            Refused: answers that were collected with other settings.
        """
        begin = 0
        with open(self._path, "rb") as file:
            for number in itertools.count(1):
                line = file.readline(MAX_LINE_BYTES + 1)
                whole = line.endswith(b"\n")
                if not line:
                    return
                where = f"{self.name}:{number}"
                if len(line) > MAX_LINE_BYTES:  # no cut line: what follows must not be removed
                    raise InputError(f"{where}: line is longer than {MAX_LINE_BYTES} bytes, expected an answer")
                try:
                    record = transcript_from_json(line, where)
                except InputError:
                    # Nothing is taken from a file that somebody else wrote.
                    if whole or not (line.startswith(BEGINNING) or BEGINNING.startswith(line)):
                        raise
                    self._file.truncate(begin)
                    return
                yield record, self._check(record, where)
                if not whole:  # an editor took the last line end away
                    self._file.write(b"\n")
                    return
                begin += len(line)

    def append(self, record: Transcript) -> None:
        """Add an answer.

        Raises:
            OSError: as the system says; the line may be cut then.
        """
        line = memoryview(record.to_json() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._path) from None
        self.numbers.add(int(record.id))
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has everything."""
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def _check(self, record: Transcript, where: str) -> Meta:
        try:
            meta = msgspec.convert(record.meta, Meta)
        except msgspec.ValidationError as error:
            raise InputError(f"{where}: meta: {error}; expected an answer that radiolabel collect wrote") from None
        if re.fullmatch("0|[1-9][0-9]{0,17}", record.id) is None:
            raise InputError(f"{where}: id is {quoted(record.id)}, expected the number of a question")
        for name in meta.settings | self.settings:
            was, now = meta.settings.get(name), self.settings.get(name)
            if was != now:
                raise Refused(
                    f"{where}: collected with other settings: {name} is {quoted(was)}, expected {quoted(now)}",
                    hint="choose another output, or ask with the settings of this one",
                )
        if int(record.id) in self.numbers:
            raise InputError(f"{where}: id {quoted(record.id)} occurs twice, expected one answer for each")
        self.numbers.add(int(record.id))
        return meta


@contextmanager
def open_journal(path: str, settings: dict[str, Any]) -> Iterator[Journal]:
    """Open or make a file of answers, and keep others from writing it.

    Raises:
        InputError: it cannot be opened, or is not a regular file.
        Refused: another process writes it.
    """
    name = printable(path)
    try:
        # A pipe or a device would block or lose answers.
        if os.path.lexists(path) and not os.path.isfile(path):
            raise InputError(f"{name}: not a regular file, expected one that can be continued")
        file = open(path, "ab", buffering=0)  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = str((isinstance(error, OSError) and error.strerror) or error).lower()
        raise InputError(f"{name}: cannot be opened: {reason}, expected a file to write answers to") from None
    with file:
        lock(file, name, "radiolabel collect")
        journal = Journal(file, path, settings)
        try:
            yield journal
        finally:
            journal.sync()
