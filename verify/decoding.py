"""One JSON value, or an InputError that says where and what.

What msgspec does, and so what this project does: of duplicate keys the last wins; `NaN` and `Infinity` are refused;
numbers above the range of a double are refused; lone surrogates are refused; text must be UTF-8.
"""

from __future__ import annotations

import re
from typing import Final, TypeVar

import msgspec

from verify.errors import InputError, quoted

ANY: Final = msgspec.json.Decoder()
ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])

TRUNCATED: Final = "Input data was truncated"  # msgspec's words, which a test pins

T = TypeVar("T")

_BYTE: Final = re.compile(r"\(byte (\d+)\)$")
# Every escape in turn, so that a backslash that is itself escaped is not read as the start of one.
_ESCAPE: Final = re.compile(rb"(?i)\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(ud[89a-f][0-9a-f]{2})|.)", re.DOTALL)
_NEAR: Final = 40  # bytes of the input that an error quotes
_HEX: Final = re.compile(rb"[0-9A-Fa-f]{32,}")  # the shortest key has 32 digits
_KEY_FIELDS: Final = (b"secret", b"value_key", b"selector_key")
_KEY_FILE: Final = 16 << 10  # bytes, the longest that `docs/spec/key-file.md` allows


def decode(data: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T], *, name: str, line: int | None) -> T:
    """Decode one JSON value.

    Args:
        data: the value, with white space around it.
        decoder: `ANY` or `ARRAY`.
        name: the file, for errors; the record's own name when `line` is None.
        line: the 1-based line of the file at which `data` starts, or None.

    Raises:
        InputError: the bytes are not one JSON value that can be used.
    """
    try:
        return decoder.decode(data)
    except RecursionError:
        where = name if line is None else f"{name}:{line}"
        raise InputError(f"{where}: JSON is nested too deeply, expected a record as the formats have it") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _error(bytes(data), error, name, line) from None


def excerpt(data: bytes, begin: int, end: int) -> str:
    """The bytes from `begin` to `end`, quoted for an error text, and never digits of a key.

    A key file may be named by mistake where text is expected, and errors end up in logs.
    """
    low, high = max(begin - _KEY_FILE, 0), end + _KEY_FILE
    around = data[low:high]
    if any(field in around for field in _KEY_FIELDS):
        return quoted("<hidden, may be a key>")
    shown, at = b"", begin
    for run in _HEX.finditer(data, low, high):  # whole runs, also where the excerpt cuts them
        if run.end() > begin and run.start() < end:
            shown += data[at : max(run.start(), at)] + b"<hex hidden>"
            at = run.end()
    return quoted((shown + data[at:end]).decode(errors="replace"))


def printable(path: str) -> str:
    """A file name for messages, with control characters escaped."""
    return path if path.isprintable() else repr(path)[1:-1]


def is_cut(data: bytes) -> bool:
    """Whether JSON starts in `data` and does not end in it, so that more lines may complete it."""
    try:
        ANY.decode(data)
    except msgspec.DecodeError as error:
        return str(error) == TRUNCATED and _lone_surrogate(data) is None
    except (UnicodeDecodeError, RecursionError):
        pass
    return False


def _lone_surrogate(data: bytes) -> int | None:
    return next((match.start() for match in _ESCAPE.finditer(data) if match[1]), None)


def _error(data: bytes, error: Exception, name: str, line: int | None) -> InputError:
    try:
        data.decode()
    except UnicodeDecodeError as bad:
        where, at = _place(data, bad.start, name, line)
        return InputError(
            f"{where}: byte {quoted(data[bad.start : bad.start + 1])} at offset {at} is not utf-8, expected utf-8 text",
        )
    reason = str(error)
    surrogate = _lone_surrogate(data) if "surrogate" in reason or reason == TRUNCATED else None
    if surrogate is not None:
        where, at = _place(data, surrogate, name, line)
        escape = quoted(data[surrogate : surrogate + 6].decode())
        return InputError(
            f"{where}: lone surrogate {escape} at offset {at}, expected a surrogate pair or another character",
            hint="text was cut inside a character; write the record again from the original text",
        )
    match = _BYTE.search(reason)
    if match is None:
        data = data.rstrip()
        where, _ = _place(data, len(data), name, line)
        if isinstance(error, msgspec.ValidationError):
            return InputError(f"{where}: a number is out of range, expected a finite double or an integer")
        near = excerpt(data, max(len(data) - _NEAR, 0), len(data))
        return InputError(f"{where}: JSON ends early after {near}, expected one complete JSON value")
    offset = int(match[1])
    where, at = _place(data, offset, name, line)
    near = excerpt(data, max(offset - _NEAR // 2, 0), offset + _NEAR // 2)
    return InputError(f"{where}: not JSON at offset {at}, near {near}, expected one JSON value")


def _place(data: bytes, offset: int, name: str, line: int | None) -> tuple[str, int]:
    """The name with the line that holds `offset`, and the 0-based offset in that line."""
    if line is None:
        return name, offset
    line += data.count(b"\n", 0, offset)
    return f"{name}:{line}", offset - (data.rfind(b"\n", 0, offset) + 1)
