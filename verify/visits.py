"""First visits: which windows of a stream no earlier one equals.

Symbols: n windows of a batch, N distinct windows so far.
Exact, in 8 bytes per distinct window and as much again for a moment while runs merge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from watermark.windows import Keys, first_occurrences


class Visits:
    """The windows seen so far: sorted runs, each more than twice as long as the next, so about log2(N) of them."""

    def __init__(self) -> None:
        self._runs: list[Keys] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def seen(self, windows: Keys) -> NDArray[np.bool_]:
        """Which of (n,) windows from `window_keys` were visited before this call: (n,) bool."""
        found = np.zeros(len(windows), dtype=bool)
        for run in self._runs:
            place = np.searchsorted(run, windows)
            found |= run.take(place, mode="clip") == windows
        return found

    def visit(self, windows: Keys) -> NDArray[np.bool_]:
        """Visit (n,) windows in order; which of them are first visits: (n,) bool."""
        first = first_occurrences(windows, None)
        first &= ~self.seen(windows)
        new = np.sort(windows[first])
        if len(new):
            while self._runs and len(self._runs[-1]) <= 2 * len(new):
                new = np.sort(np.concatenate([self._runs.pop(), new]), kind="stable")  # merges runs
            self._runs.append(new)
        return first
