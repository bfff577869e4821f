"""An engine's configuration that holds a key: a JSON object in a file that only its owner reads."""

from __future__ import annotations

import json
import os
import shlex
import stat
from pathlib import Path
from typing import Any, Final

from watermark.errors import KeyFileError
from watermark.secret import write_secret_file

MAX_BYTES: Final = 64 * 1024


def read_configuration(path: str | Path) -> dict[str, Any]:
    """Read one.

    Raises:
        KeyFileError: unreadable, open to others, or not one JSON object. No message quotes the content.
    """
    _refuse_dash(path)
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise KeyFileError(f"{path} is not a file")
            if stat.S_IMODE(mode) & 0o077 and os.name == "posix":
                raise KeyFileError(f"{path} can be read by others", hint=f"chmod 600 {shlex.quote(str(path))}")
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the name of a file"
        raise KeyFileError(f"{path} cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise KeyFileError(f"{path} is longer than {MAX_BYTES} bytes, which no engine's key needs")
    try:
        record = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise KeyFileError(
            f"{path} does not hold one JSON object",
            hint="write a YAML configuration as JSON, which is YAML too",
        ) from None
    if not isinstance(record, dict):
        raise KeyFileError(f"{path} does not hold one JSON object")
    return record


def write_configuration(record: dict[str, Any], path: str | Path) -> None:
    """Write one to a new file of mode 0600.

    Raises:
        KeyFileError: the file exists, or cannot be written.
    """
    _refuse_dash(path)
    try:
        write_secret_file(path, json.dumps(record, indent=1).encode() + b"\n")
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists, and a file with a key is never overwritten",
            hint="choose another name, or move it away first",
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None


def _refuse_dash(path: str | Path) -> None:
    if str(path) in ("", "-"):
        raise KeyFileError(f"{str(path)!r} is not the name of a file: keys do not pass through pipes")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field stands twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError("NaN and infinities are no JSON")
