"""Files that are their owner's alone: created exclusively, mode 0600, never overwritten."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from verify.errors import InputError
from watermark.secret import write_secret_file


def create_private(path: str | Path, data: bytes, name: str) -> None:
    """Write a new file.

    Args:
        path: of it.
        data: all of it.
        name: what errors call it.

    Raises:
        InputError: the file exists, or cannot be written.
    """
    try:
        write_secret_file(path, data)
    except FileExistsError:
        raise InputError(
            f"{name} exists, and such a file is never overwritten", hint="choose another name, or move it away first"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be written: {_reason(error)}") from None


def read_private(path: str | Path, name: str, limit: int) -> bytes:
    """A file's bytes, at most one more than `limit`.

    Raises:
        InputError: it cannot be read, is no regular file, or can be read by others.
    """
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InputError(f"{name} is not a regular file, expected one")
            if stat.S_IMODE(mode) & 0o077 and os.name == "posix":
                raise InputError(f"{name} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}")
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {_reason(error)}, expected a readable file") from None


def _reason(error: Exception) -> str:
    return str((isinstance(error, OSError) and error.strerror) or error).lower()
