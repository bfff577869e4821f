"""Inputs of an evidence file in one folder: opened by name, no link followed, nothing that blocks."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from verify.errors import InputError


def digest_of(folder: str, name: str) -> str | None:
    """SHA-256 of a file in a folder, in hexadecimal, or None if there is none of this name.

    Args:
        folder: path.
        name: a file name as evidence has them: it names no folder.

    Raises:
        InputError: a link, a folder, a pipe, or a file that cannot be read.
    """
    try:
        descriptor = os.open(Path(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # before Python's `open`, which refuses a folder
                raise InputError(f"{name}: not a regular file, expected one")
            with open(descriptor, "rb", closefd=False) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{name}: cannot be read: {str(reason).lower()}, expected a regular file") from None
