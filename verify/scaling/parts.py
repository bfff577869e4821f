"""Part files: the pairs of one unit by bucket, with a table of where each bucket lies and its checksum.

    16 bytes of magic, N_BUCKETS + 1 offsets of 8 bytes, N_BUCKETS CRC-32 of 4 bytes, and then the buckets in order.

All numbers are little-endian. A marker names a part with the SHA-256 of what comes before the buckets, so that a file
that was cut, changed or swapped is noticed where it is read.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from verify.distinct import N_BUCKETS
from verify.errors import Refused

MAGIC: Final = b"radiolabelpairs1"
_OFFSETS: Final = 8 * (N_BUCKETS + 1)
HEAD_BYTES: Final = len(MAGIC) + _OFFSETS + 4 * N_BUCKETS


class Part(msgspec.Struct, frozen=True, array_like=True):
    """A part file's name in its folder, and the digest of its head."""

    name: str
    digest: str


def write_part(path: Path, rows: pa.RecordBatch) -> Part:
    """Write rows of pairs (`kernels.PAIR_ROWS`), ascending by bucket; the file is complete on the disk or not there.

    Raises:
        OSError: as the system says.
    """
    _, starts, data = rows.column("pairs").buffers()
    ends = np.frombuffer(starts, dtype=np.int32, count=len(rows) + 1).astype(np.int64)
    lengths, checks = np.zeros(N_BUCKETS, dtype=np.int64), np.zeros(N_BUCKETS, dtype="<u4")
    used, body = rows.column("bucket").to_numpy(), memoryview(data)[ends[0] : ends[-1]]
    lengths[used] = np.diff(ends)
    offsets = np.append(0, np.cumsum(lengths)).astype("<i8")
    checks[used] = [zlib.crc32(body[offsets[bucket] : offsets[bucket + 1]]) for bucket in used.tolist()]
    head = MAGIC + offsets.tobytes() + checks.tobytes()
    write_whole(path, head, body)
    return Part(path.name, hashlib.sha256(head).hexdigest())


class PartReader:
    """Buckets of one part; its table is held, the file is opened for each read.

    Args:
        folder: of the part.
        part: what its marker says.

    Raises:
        Refused: not the file of the marker.
    """

    def __init__(self, folder: Path, part: Part) -> None:
        self._path = folder / part.name
        head = self._bytes(0, HEAD_BYTES)
        if hashlib.sha256(head).hexdigest() != part.digest:
            raise self._damaged()
        self._offsets = np.frombuffer(head, dtype="<i8", count=N_BUCKETS + 1, offset=len(MAGIC))
        self._checks = np.frombuffer(head, dtype="<u4", offset=len(MAGIC) + _OFFSETS)

    def size(self, start: int, stop: int) -> int:
        """Bytes of buckets start to stop."""
        return int(self._offsets[stop] - self._offsets[start])

    def read(self, start: int, stop: int) -> list[memoryview]:
        """The bytes of each bucket from start to stop.

        Raises:
            Refused: the file is damaged.
        """
        ends = (self._offsets[start : stop + 1] - self._offsets[start]).tolist()
        data = memoryview(self._bytes(HEAD_BYTES + int(self._offsets[start]), ends[-1]))
        found = [data[a:b] for a, b in pairwise(ends)]
        if [zlib.crc32(piece) for piece in found] != self._checks[start:stop].tolist():
            raise self._damaged()
        return found

    def _bytes(self, at: int, count: int) -> bytes:
        try:
            with open(self._path, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), count, at)
                while 0 < len(data) < count and (more := os.pread(file.fileno(), count - len(data), at + len(data))):
                    data += more
        except FileNotFoundError:
            raise self._damaged() from None
        if len(data) != count:
            raise self._damaged()
        return data

    def _damaged(self) -> Refused:
        return Refused(
            f"{self._path}: missing or damaged, expected the pairs of its unit as they were written",
            hint="remove the unit's marker in the folder units, and run the same command again",
        )


def write_whole(path: Path, *pieces: bytes | memoryview) -> None:
    """Write a file under another name, to the disk, and only then under its own.

    Raises:
        OSError: as the system says.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
