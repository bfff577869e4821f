"""Files that are what they seem, and one writer at a time. Normative text: docs/spec/ledger.md, section 4."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watermark.errors import LedgerError


def open_regular(path: Path, flags: int, what: str) -> int:
    """A descriptor of a regular file that is not a link.

    Raises:
        LedgerError: it is something else, or cannot be opened.
    """
    try:
        # Without O_NONBLOCK a named pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = "is a symbolic link" if path.is_symlink() else f"cannot be opened: {reason_of(error)}"
        raise LedgerError(f"{what} {shown(path)} {reason}, expected a regular file") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LedgerError(f"{what} {shown(path)} is not a regular file")
    return descriptor


def shown(path: Path) -> str:
    """A path for messages."""
    text = str(path)
    return text if text.isprintable() else repr(text)[1:-1]


def reason_of(error: Exception) -> str:
    """What the system said."""
    return str((isinstance(error, OSError) and error.strerror) or error).lower()


class Lock:
    """Mutual exclusion of threads and of processes.

    Args:
        descriptor: of the file that is locked.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._threads = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Hold the lock."""
        # flock belongs to the open file, which the threads of a process share.
        with self._threads:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
