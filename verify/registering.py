"""Adding to the register of plans: one writer at a time, and a line is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from verify.errors import InputError, Refused
from verify.inputs.streams import display_name
from verify.locking import lock
from verify.register import RegisterEntry, chain, entries_in


class OpenRegister:
    """A register that this process alone writes. Made by `open_register`."""

    def __init__(self, file: IO[bytes], name: str, entries: list[RegisterEntry]) -> None:
        self._file, self.name, self.entries = file, name, entries

    def append(self, entry: RegisterEntry) -> None:
        """Add a line, and wait until the disk has it.

        Raises:
            OSError: as the system says; nothing was added then.
        """
        size = os.fstat(self._file.fileno()).st_size
        line = memoryview(entry.to_json())
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(size)
            raise OSError(error.errno, error.strerror, self.name) from None
        self.entries.append(entry)


@contextmanager
def open_register(path: str) -> Iterator[OpenRegister]:
    """Open or make a register, and keep others from writing it.

    Raises:
        InputError: it cannot be opened, is not a regular file, or has a line that is none.
        Refused: another process writes it, or its chain is broken.
    """
    name = display_name(path)
    try:
        if os.path.lexists(path) and not os.path.isfile(path):  # a pipe would block
            raise InputError(f"{name}: not a regular file, expected a register")
        file = open(path, "a+b", buffering=0)  # noqa: SIM115
    except (OSError, ValueError) as error:
        reason = str((isinstance(error, OSError) and error.strerror) or error).lower()
        raise InputError(f"{name}: cannot be opened: {reason}, expected a register") from None
    with file:
        lock(file, name, "radiolabel plan commit")
        file.seek(0)
        entries = list(entries_in(file, name))
        broken = [step for step in chain(entries) if step.outcome == "failed"]
        if broken:
            raise Refused(f"{name}: {broken[0].reason}, expected a whole register", hint="take it as it was written")
        yield OpenRegister(file, name, entries)
