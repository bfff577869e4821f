"""Exact distinct (window, token) pairs over a whole corpus.

Symbols: h window width, n pairs. A pair is h + 1 ids of 20 bits: up to 80 bits, kept as a high and a low word.
No hash stands for a pair, so none can collide.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from watermark.windows import ID_BITS, MAX_ID, Ids, Keys, first_occurrences

LOW_FIELDS = 3  # ids that fit the low word whole
# Pairs handled at once: their table of 512 KiB stays in the second-level cache.
BUCKET_PAIRS = 1 << 15
MAX_BUCKET_BITS = 16
MOST_WAITING = 1 << 23
# A corpus too large for memory falls into 2^10 buckets, by the top bits of the hash: each is distinct by itself.
SHUFFLE_BITS = 10
N_BUCKETS = 1 << SHUFFLE_BITS
_HASH = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_SHUFFLE_HASH = np.uint64(0xD1342543DE82EF95)  # another (Steele & Vigna 2021), or a bucket would not divide again


@dataclass(frozen=True, eq=False)
class Pairs:
    """Packed pairs, in the order they were given.

    Attributes:
        width: h.
        low: (n,) uint64, the last three of the h + 1 ids (all of them for h <= 2) and the low 4 bits of the first.
        high: (n,) uint16, the other 16 bits of the first id at h = 3, else None.
    """

    width: int
    low: NDArray[np.uint64]
    high: NDArray[np.uint16] | None

    @classmethod
    def of(cls, windows: Keys, tokens: Ids, width: int) -> Pairs:
        """Pack (n,) windows from `window_keys` with (n,) tokens."""
        low = windows << np.uint64(ID_BITS) | tokens
        high = (windows >> np.uint64(64 - ID_BITS)).astype(np.uint16) if width == LOW_FIELDS else None
        return cls(width, low, high)

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, index: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Pairs:
        return Pairs(self.width, self.low[index], None if self.high is None else self.high[index])

    def windows(self) -> Ids:
        """(n, h) uint32."""
        out = np.empty((len(self), self.width), dtype=np.uint32)
        for column in range(self.width):
            out[:, column] = self._field(self.width - column)
        return out

    def window_keys(self) -> Keys:
        """(n,) uint64, as `watermark.windows.window_keys` packs them."""
        keys: Keys = self.low >> np.uint64(ID_BITS)
        if self.high is not None:
            keys |= self.high.astype(np.uint64) << np.uint64(64 - ID_BITS)
        return keys

    def tokens(self) -> Ids:
        """(n,) uint32."""
        return self._field(0).astype(np.uint32)

    def ascending(self) -> Pairs:
        """In ascending order of (window, token): the canonical order."""
        return self[np.argsort(self.low) if self.high is None else np.lexsort((self.low, self.high))]

    def _field(self, place: int) -> NDArray[np.uint64]:
        field = (self.low >> np.uint64(ID_BITS * place)) & np.uint64(MAX_ID)
        if place == LOW_FIELDS and self.high is not None:
            field |= self.high.astype(np.uint64) << np.uint64(4)
        return field


def concatenate(parts: list[Pairs]) -> Pairs:
    """Lay pairs of one width end to end."""
    if len({part.width for part in parts}) != 1:
        raise ValueError(f"pairs of widths {sorted({part.width for part in parts})} do not go together")
    high = None if parts[0].high is None else np.concatenate([p.high for p in parts if p.high is not None])
    return Pairs(parts[0].width, np.concatenate([p.low for p in parts]), high)


def distinct(pairs: Pairs) -> Pairs:
    """The pairs that occur, each once, in no particular order."""
    bits = min((len(pairs) // BUCKET_PAIRS).bit_length(), MAX_BUCKET_BITS)
    if bits == 0:
        return pairs[first_occurrences(pairs.low, pairs.high)]
    ordered, offsets = _by_bucket(pairs, bits, _HASH)
    parts = [ordered[start:end] for start, end in pairwise(offsets.tolist())]
    return concatenate([part[first_occurrences(part.low, part.high)] for part in parts])


def by_bucket(pairs: Pairs) -> tuple[Pairs, NDArray[np.int64]]:
    """Bring equal pairs together: bucket after bucket, by the top bits of the low word's multiplicative hash.

    Returns:
        The pairs, and (N_BUCKETS + 1,) offsets: bucket b is pairs[offsets[b]:offsets[b + 1]].
    """
    return _by_bucket(pairs, SHUFFLE_BITS, _SHUFFLE_HASH)


def _by_bucket(pairs: Pairs, bits: int, multiplier: np.uint64) -> tuple[Pairs, NDArray[np.int64]]:
    bucket = ((pairs.low * multiplier) >> np.uint64(64 - bits)).astype(np.uint16)
    offsets = np.zeros((1 << bits) + 1, dtype=np.int64)
    np.cumsum(np.bincount(bucket, minlength=1 << bits), out=offsets[1:])
    return pairs[np.argsort(bucket, kind="stable")], offsets  # a radix sort


def ranks(pairs: Pairs) -> NDArray[np.intp]:
    """A number per pair, equal exactly where the pairs are equal: (n,), each below n."""
    rank: NDArray[np.intp] = np.unique(pairs.low, return_inverse=True)[1]
    if pairs.high is None:
        return rank
    both = pairs.high.astype(np.uint64) << np.uint64(48) | rank.astype(np.uint64)
    rank = np.unique(both, return_inverse=True)[1]
    return rank


class DistinctBuilder:
    """Collects pairs batch by batch. Memory is at most about three times that of the distinct pairs, or 200 MB.

    Args:
        width: h.
        most_waiting: pairs that may wait before they are looked up, where fewer than so many are distinct.
    """

    def __init__(self, width: int, most_waiting: int = MOST_WAITING) -> None:
        self._done = Pairs.of(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.uint32), width)
        self._waiting: list[Pairs] = []
        self._n_waiting = 0
        self._most_waiting = most_waiting

    def add(self, pairs: Pairs) -> None:
        """Add a batch of pairs, which need not be distinct."""
        self._waiting.append(pairs)
        self._n_waiting += len(pairs)
        if self._n_waiting > max(len(self._done), self._most_waiting):
            self.result()

    def __len__(self) -> int:
        """Pairs held, those that wait included: at least the distinct ones."""
        return len(self._done) + self._n_waiting

    def result(self) -> Pairs:
        """All distinct pairs so far."""
        if self._waiting:
            self._done = distinct(concatenate([self._done, *self._waiting]))
            self._waiting, self._n_waiting = [], 0
        return self._done
