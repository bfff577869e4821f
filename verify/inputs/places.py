"""Where inputs lie: files, patterns of files, and URLs that `fsspec` opens, with every failure an InputError.

A name is a URL if it has `://` and no file of this name exists; nothing else touches a network.
A pattern may be quoted or not: one that the shell has expanded is a list of names.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import io
import os
from dataclasses import dataclass
from typing import IO, Any, Final

from verify.decoding import printable
from verify.errors import InputError

READ_AT_ONCE: Final = 1 << 20
_CHANGED: Final = ("mtime", "LastModified", "last_modified", "updated", "created", "ETag", "etag")


@dataclass(frozen=True)
class Stamp:
    """What tells that a file is not the one it was.

    Attributes:
        size: bytes.
        changed: when it was changed, as its system says: nanoseconds, a date, or a tag; "" if it says nothing.
    """

    size: int
    changed: str


def is_url(name: str) -> bool:
    """Whether `fsspec` is to open it."""
    return "://" in name and not os.path.exists(name)


def is_pattern(name: str) -> bool:
    """Whether it stands for the files that match, since none has this very name."""
    return glob.has_magic(name) and not os.path.exists(name)


def expand(names: tuple[str, ...]) -> tuple[str, ...]:
    """The files that names and patterns stand for: in the order given, the matches of a pattern sorted, each once.

    Raises:
        InputError: a pattern without a match, a folder, or standard input.
    """
    found: dict[str, str] = {}
    for name in names:
        if name == "-":
            raise InputError("'-' cannot be read in parts, expected files", hint="save standard input to a file first")
        for path in _matches(name) if is_pattern(name) else [name]:
            if not is_url(path) and os.path.isdir(path):
                raise InputError(
                    f"{printable(path)}: is a folder, expected files", hint=f"name its files: '{printable(path)}/*'"
                )
            found.setdefault(path if is_url(path) else os.path.realpath(path), path)
    return tuple(found.values())


def _matches(pattern: str) -> list[str]:
    if is_url(pattern):
        with _url_errors(pattern):
            system, path = _system(pattern)
            found = [system.unstrip_protocol(match) for match in system.glob(path) if not system.isdir(match)]
    else:
        found = [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]
    if not found:
        raise InputError(f"{printable(pattern)}: no file matches the pattern, expected at least one")
    return sorted(found)


def open_place(name: str) -> IO[bytes]:
    """A file or URL, open for reading.

    Raises:
        InputError: it cannot be opened.
    """
    if is_url(name):
        with _url_errors(name):
            system, path = _system(name)
            return io.BufferedReader(_Remote(system.open(path, "rb")), buffer_size=READ_AT_ONCE)
    try:
        return open(name, "rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = str((isinstance(error, OSError) and error.strerror) or error).lower()
        raise InputError(f"{printable(name)}: cannot be opened: {reason}, expected a readable file") from None


def stamp(name: str) -> Stamp:
    """Size and time of change.

    Raises:
        InputError: not there.
    """
    if is_url(name):
        with _url_errors(name):
            system, path = _system(name)
            info = system.info(path)
            said = next((str(info[field]) for field in _CHANGED if info.get(field)), "")
            return Stamp(int(info["size"] or 0), said)
    try:
        found = os.stat(name)
    except (OSError, ValueError) as error:
        reason = str((isinstance(error, OSError) and error.strerror) or error).lower()
        raise InputError(f"{printable(name)}: cannot be opened: {reason}, expected a readable file") from None
    return Stamp(found.st_size, str(found.st_mtime_ns))


def digest(name: str) -> str:
    """SHA-256 of the bytes as they lie there, 64 hexadecimal digits.

    Raises:
        InputError: it cannot be read.
    """
    sha = hashlib.sha256()
    with open_place(name) as stream:
        try:
            while chunk := stream.read(READ_AT_ONCE):
                sha.update(chunk)
        except OSError as error:
            raise InputError(f"{printable(name)}: cannot be read: {(error.strerror or '').lower()}") from None
    return sha.hexdigest()


def _system(name: str) -> tuple[Any, str]:
    import fsspec

    found: tuple[Any, str] = fsspec.core.url_to_fs(name)
    return found


class _Remote(io.RawIOBase):
    """A remote file whose every failure is an OSError, as for a local one."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(self._call("tell"))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._call("seek", offset, whence))

    def readinto(self, buffer: Any) -> int:
        data = memoryview(buffer).cast("B")
        read: bytes = self._call("read", len(data))
        data[: len(read)] = read
        return len(read)

    def close(self) -> None:
        if not self.closed:
            self._call("close")
        super().close()

    def _call(self, name: str, *arguments: int) -> Any:
        try:
            return getattr(self._file, name)(*arguments)
        except Exception as error:
            raise OSError(errno.EIO, type(error).__name__) from None


class _url_errors:  # reads as a function where it is used
    """Turns whatever a remote system raises into an InputError."""

    def __init__(self, name: str) -> None:
        self._name = printable(name)

    def __enter__(self) -> None:
        from verify.inputs.needs import require

        require("fsspec")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, InputError):
            # The text of a foreign error may hold a credential of the URL: its type alone is told.
            raise InputError(f"{self._name}: cannot be opened: {kind.__name__}, expected a readable URL") from None
