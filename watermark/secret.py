"""Bytes that never show themselves."""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import NoReturn


class Secret:
    """Key material. Its `repr`, `str` and formatting say nothing, it has no hash, and it refuses to be pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """The bytes, for a cipher, a key derivation or a key file, and for nothing else."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Secret(<{len(self._value)} bytes hidden>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: derive it again where it is needed")


def write_secret_file(path: str | Path, data: bytes) -> None:
    """Write a new file of mode 0600, which is whole and on disk, or not there.

    Raises:
        FileExistsError: there is a file of this name; it is never overwritten.
        OSError: it cannot be written.
        ValueError: the path has a NUL.
    """
    created = done = False
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        created = True
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o600)  # whatever the umask
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        done = True
    finally:
        if created and not done:  # also when interrupted
            Path(path).unlink(missing_ok=True)
