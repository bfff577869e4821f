"""Pairs as bytes: n low words of 8 bytes, then, at width 3, n high words of 2, little-endian."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from verify.distinct import LOW_FIELDS, Pairs


def pair_bytes(width: int) -> int:
    """Bytes of one pair."""
    return 10 if width == LOW_FIELDS else 8


def pack(pairs: Pairs, offsets: NDArray[np.int64]) -> tuple[NDArray[np.uint8], int]:
    """Pairs, in pieces that can be unpacked by themselves.

    Args:
        pairs: (n,) pairs.
        offsets: piece i is pairs[offsets[i]:offsets[i + 1]].

    Returns:
        All bytes, and how many a pair has: piece i begins at byte offsets[i] times that.
    """
    low = np.ascontiguousarray(pairs.low, dtype="<u8").view(np.uint8)
    if pairs.high is None:
        return low, 8
    high = np.ascontiguousarray(pairs.high, dtype="<u2").view(np.uint8)
    out = np.empty(10 * len(pairs), dtype=np.uint8)
    for start, stop in pairwise(offsets.tolist()):
        middle = 10 * start + 8 * (stop - start)
        out[10 * start : middle] = low[8 * start : 8 * stop]
        out[middle : 10 * stop] = high[2 * start : 2 * stop]
    return out, 10


def unpack(packed: bytes | memoryview, width: int) -> Pairs:
    """The pairs of one piece.

    Raises:
        ValueError: not a whole number of pairs.
    """
    n, rest = divmod(len(packed), pair_bytes(width))
    if rest:
        raise ValueError(f"{len(packed)} bytes are no whole number of pairs of width {width}")
    low = np.frombuffer(packed, dtype="<u8", count=n)
    return Pairs(width, low, np.frombuffer(packed, dtype="<u2", offset=8 * n) if width == LOW_FIELDS else None)
