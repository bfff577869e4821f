"""A file of hashed windows: which were served, and nothing else of what was served.

Normative text: docs/spec/windows.md. Symbols: h window width, n windows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Annotated, Any, ClassVar, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from verify.canonical import canonical, parse_canonical
from verify.errors import InputError, quoted
from verify.plan_parts import Count
from verify.stamped import convert
from watermark.prf import MAX_WIDTH
from watermark.windows import ID_BITS, MAX_ID, Keys

VERSION: Final = 1
HASH_BYTES: Final = 10
LINE_BYTES: Final = 2 * HASH_BYTES + 1
MAX_HEADER_BYTES: Final = 1024
CHUNK_LINES: Final = 1 << 15

Hashes = NDArray[np.bytes_]  # of HASH_BYTES each; numpy compares them as unsigned bytes
_NIBBLE: Final = np.full(256, 255, dtype=np.uint8)
_NIBBLE[list(b"0123456789abcdef")] = np.arange(16)


class HashedWindows(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line of a file of hashed windows.

    Attributes:
        width: h.
        n: number of lines that follow.
        salt: in hexadecimal.
        tokenizer: digest of the one that the ids are of, or "unknown".
    """

    what: ClassVar[str] = "windows"
    width: Annotated[int, msgspec.Meta(ge=1, le=MAX_WIDTH)]
    n: Count
    salt: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    tokenizer: Annotated[str, msgspec.Meta(pattern=r"^(unknown|sha256:[0-9a-f]{64})\Z")]

    def fields(self) -> dict[str, Any]:
        """The object of the line."""
        own: dict[str, Any] = msgspec.to_builtins(self)
        return {"radiolabel": self.what, "version": VERSION} | own

    def hashes(self, windows: Keys) -> Hashes:
        """Hashes of (n,) windows, as `watermark.windows.window_keys` packs them, in their order."""
        salt, size = hashlib.sha256(bytes.fromhex(self.salt)), 4 * self.width
        out = np.empty(len(windows), dtype=f"S{HASH_BYTES}")
        for start in range(0, len(windows), CHUNK_LINES):
            part = windows[start : start + CHUNK_LINES]
            back = np.arange(self.width - 1, -1, -1, dtype=np.uint64) * np.uint64(ID_BITS)
            ids = (part[:, None] >> back & np.uint64(MAX_ID)).astype("<u4").tobytes()
            found = []
            for at in range(0, len(ids), size):
                one = salt.copy()
                one.update(ids[at : at + size])
                found.append(one.digest()[:HASH_BYTES])
            out[start : start + len(part)] = found
        return out


def lines_of(head: HashedWindows, hashes: Hashes) -> Iterator[bytes]:
    """The bytes of the file, in parts."""
    yield canonical(head.fields(), head.what) + b"\n"
    for start in range(0, len(hashes), CHUNK_LINES):
        part = hashes[start : start + CHUNK_LINES]
        digits = part.tobytes().hex("\n", HASH_BYTES)
        yield digits.encode() + b"\n"


def read_head(stream: IO[bytes], name: str) -> HashedWindows:
    """The first line of a stream of hashed windows.

    Raises:
        InputError: not such a line.
    """
    value = parse_canonical(stream.readline(MAX_HEADER_BYTES + 1), f"{name}:1", limit=MAX_HEADER_BYTES)
    if value.get("radiolabel") != HashedWindows.what:
        raise InputError(f"{name}:1: radiolabel is {quoted(value.get('radiolabel'))}, expected 'windows'")
    head: HashedWindows = convert(value, f"{name}:1", HashedWindows.what, HashedWindows, VERSION)
    return head


def read_hashes(stream: IO[bytes], head: HashedWindows, name: str) -> Iterator[Hashes]:
    """The lines after the first, in chunks that are not empty.

    Args:
        stream: after its first line.
        head: of it.
        name: what errors call it.

    Raises:
        InputError: other lines than `head` says, or lines that are not distinct and ascending.
    """
    last, left = None, head.n
    while left:
        size = min(left, CHUNK_LINES)
        data = _exactly(stream, size * LINE_BYTES)
        line = 2 + head.n - left
        if len(data) < size * LINE_BYTES:
            raise InputError(f"{name}: ends early, expected {head.n} windows after the first line")
        rows = np.frombuffer(data, dtype=np.uint8).reshape(size, LINE_BYTES)
        digits = _NIBBLE[rows[:, :-1]]
        bad = (digits == 255).any(axis=1) | (rows[:, -1] != 10)
        if bad.any():
            raise InputError(f"{name}:{line + int(bad.argmax())}: not {2 * HASH_BYTES} digits of 0-9a-f and a line end")
        packed = np.ascontiguousarray(digits[:, ::2] << 4 | digits[:, 1::2])
        chunk = packed.view(f"S{HASH_BYTES}").ravel()
        falls = np.append(last is not None and chunk[0] <= last, chunk[1:] <= chunk[:-1])
        if falls.any():
            where = f"{name}:{line + int(falls.argmax())}"
            raise InputError(f"{where}: does not come after the line before it, expected distinct ascending lines")
        yield chunk
        last, left = chunk[-1], left - size
    if stream.read(1):
        raise InputError(f"{name}: goes on after {head.n} windows, expected no more")


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
