"""JSON that has one spelling (RFC 8785), so that a digest is of what was said and not of how it was written."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Final

from verify.decoding import ANY, decode
from verify.errors import InputError, quoted
from verify.inputs.streams import display_name

MAX_BYTES: Final = 1 << 20


def canonical(value: object, name: str = "record") -> bytes:
    """The canonical JSON of a value.

    Raises:
        InputError: JSON cannot hold it: a number that no double holds exactly, NaN, or something that is not JSON.
    """
    try:
        import rfc8785
    except ModuleNotFoundError:
        raise InputError("the package rfc8785 is not installed", hint="pip install radiolabel[evidence]") from None
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # what it cannot write it refuses
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{name}: no canonical JSON: {reason}") from None


def digest(data: bytes) -> str:
    """SHA-256 as records write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def parse_canonical(data: bytes, name: str, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object of a file that is its canonical JSON and one LF.

    Args:
        data: the whole file.
        name: what errors call it.
        limit: bytes that it has at most.

    Raises:
        InputError: anything else, another spelling of the same object included.
    """
    if len(data) > limit:
        raise InputError(f"{name}: more than {limit} bytes, expected at most that")
    value = decode(data, ANY, name=name, line=None)
    if not isinstance(value, dict):
        raise InputError(f"{name}: {quoted(value)}, expected a JSON object")
    if canonical(value, name) + b"\n" != data:
        raise InputError(
            f"{name}: not in canonical form, expected the JSON of RFC 8785 and one line end",
            hint="take the file as it was made: another order, white space or a field twice changes its digest",
        )
    return value


def read_canonical(path: str, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The object in a file; see `parse_canonical`.

    Raises:
        InputError: also when the file cannot be read.
    """
    return parse_canonical(read_bytes(path, limit), display_name(path), limit=limit)


def read_bytes(path: str, limit: int) -> bytes:
    """A file's bytes, at most one more than `limit`, so that whoever parses them sees that there are too many.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise InputError(f"{display_name(path)}: cannot be read: not a regular file, expected one")
        with open(path, "rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (isinstance(error, OSError) and error.strerror) or error
        name = display_name(path)
        raise InputError(f"{name}: cannot be read: {str(reason).lower()}, expected a readable file") from None
