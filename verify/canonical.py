"""JSON that has one spelling (RFC 8785), so that a digest is of what was said and not of how it was written."""

from __future__ import annotations

import hashlib
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


def parse_canonical(data: bytes, name: str) -> dict[str, Any]:
    """The object of a file that is its canonical JSON and one LF.

    Raises:
        InputError: anything else, another spelling of the same object included.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: more than {MAX_BYTES} bytes, expected at most that")
    value = decode(data, ANY, name=name, line=None)
    if not isinstance(value, dict):
        raise InputError(f"{name}: {quoted(value)}, expected a JSON object")
    if canonical(value, name) + b"\n" != data:
        raise InputError(
            f"{name}: not in canonical form, expected the JSON of RFC 8785 and one line end",
            hint="take the file as it was made: another order, white space or a field twice changes its digest",
        )
    return value


def read_canonical(path: str) -> dict[str, Any]:
    """The object in a file; see `parse_canonical`.

    Raises:
        InputError: also when the file cannot be read.
    """
    name = display_name(path)
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise InputError(f"{name}: cannot be read: {str(reason).lower()}, expected a readable file") from None
    return parse_canonical(data, name)
