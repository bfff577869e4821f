"""Exact distinct (window, token) pairs over a whole corpus.

Symbols: h window width, n pairs. A pair is h + 1 ids of 20 bits: up to 80 bits, kept as a high and a low word.
No hash stands for a pair, so none can collide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from watermark.windows import ID_BITS, MAX_ID, Ids, pack

LOW_FIELDS = 3  # ids that fit the low word whole


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
    def of(cls, windows: Ids, tokens: Ids) -> Pairs:
        """Pack (n, h) windows and (n,) tokens."""
        columns = [*windows.T, tokens]
        low = pack(columns[-LOW_FIELDS:])
        if len(columns) <= LOW_FIELDS:
            return cls(windows.shape[1], low, None)
        low |= columns[0].astype(np.uint64) << np.uint64(ID_BITS * LOW_FIELDS)
        return cls(windows.shape[1], low, (columns[0] >> np.uint32(4)).astype(np.uint16))

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

    def tokens(self) -> Ids:
        """(n,) uint32."""
        return self._field(0).astype(np.uint32)

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
    """The pairs that occur, each once, in ascending order."""
    if pairs.high is None:
        low = np.sort(pairs.low)
        return Pairs(pairs.width, low[_first(low)], None)
    order = np.argsort(pairs.low)
    # A stable 16-bit sort is a radix sort: the low words stay in order within each high word.
    order = order[np.argsort(pairs.high[order], kind="stable")]
    ordered = pairs[order]
    assert ordered.high is not None
    return ordered[_first(ordered.low) | _first(ordered.high)]


def ranks(pairs: Pairs) -> NDArray[np.intp]:
    """A number per pair, equal exactly where the pairs are equal: (n,), each below n."""
    rank: NDArray[np.intp] = np.unique(pairs.low, return_inverse=True)[1]
    if pairs.high is None:
        return rank
    both = pairs.high.astype(np.uint64) << np.uint64(48) | rank.astype(np.uint64)
    rank = np.unique(both, return_inverse=True)[1]
    return rank


def _first(values: NDArray[np.uint64] | NDArray[np.uint16]) -> NDArray[np.bool_]:
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    return first


class DistinctBuilder:
    """Collects pairs batch by batch. Memory is at most about three times that of the distinct pairs."""

    def __init__(self, width: int) -> None:
        empty = np.empty((0, width), dtype=np.uint32)
        self._done = Pairs.of(empty, np.empty(0, dtype=np.uint32))
        self._waiting: list[Pairs] = []

    def add(self, pairs: Pairs) -> None:
        """Add a batch of distinct pairs."""
        self._waiting.append(pairs)
        if sum(map(len, self._waiting)) > max(len(self._done), 1 << 20):
            self.result()

    def result(self) -> Pairs:
        """All distinct pairs so far, ascending."""
        if self._waiting:
            self._done = distinct(concatenate([self._done, *self._waiting]))
            self._waiting = []
        return self._done
