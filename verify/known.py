"""Pairs that were there before, for tests that follow a corpus in its order. Exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.distinct import Pairs


class Known:
    """A set of pairs in sorted runs, each at least twice as long as the next: 8 or 10 bytes a pair."""

    def __init__(self) -> None:
        self._runs: list[NDArray[Any]] = []

    def new(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which of (n,) distinct pairs were not there yet; all are from now on."""
        keys = sortable(pairs)
        fresh = np.ones(len(keys), dtype=bool)
        for run in self._runs:
            at = np.searchsorted(run, keys)
            fresh &= run[np.minimum(at, len(run) - 1)] != keys
        if fresh.any():
            self._runs.append(np.sort(keys[fresh]))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs.append(np.sort(np.concatenate([self._runs.pop(), self._runs.pop()]), kind="stable"))
        return fresh


def sortable(pairs: Pairs) -> NDArray[Any]:
    """(n,) one key a pair, equal only for equal pairs: uint64, or 10 bytes at width 3."""
    if pairs.high is None:
        return pairs.low
    words = np.empty((len(pairs), 10), dtype=np.uint8)
    words[:, :2] = pairs.high.astype(">u2").view(np.uint8).reshape(-1, 2)
    words[:, 2:] = pairs.low.astype(">u8").view(np.uint8).reshape(-1, 8)
    return words.view("S10").ravel()  # numpy pads with zeros, so that equal length keeps final zeros apart
