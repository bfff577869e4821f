"""The score of a corpus as it goes on, for a picture: no decision uses it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from verify.distinct import Pairs
from verify.hypotheses.open import in_channel
from verify.known import Known, sortable
from verify.measured import checkpoints
from verify.scoring import CHUNK_PAIRS
from watermark.keys import ValueKey
from watermark.prf import Prf, pack_blocks


class Accumulation:
    """Rows of (tokens looked up, distinct pairs scored, total) at growing numbers of tokens.

    The rows depend on the order of the tokens and not on how they are cut into batches.

    Args:
        key: the key.
    """

    def __init__(self, key: ValueKey) -> None:
        self._key, self._prf, self._known = key, Prf(key.value), Known()
        self._tokens = self._n = self._total = 0
        self._marks = checkpoints()
        self._next, self._rows = next(self._marks), list[tuple[int, int, int]]()

    def add(self, pairs: Pairs) -> None:
        """Go on with (n,) pairs, in the order of the text and each as often as it comes."""
        first = np.sort(np.unique(sortable(pairs), return_index=True)[1])
        at = first[self._known.new(pairs[first])]
        for start in range(0, len(at), CHUNK_PAIRS):
            self._score(pairs, at[start : start + CHUNK_PAIRS])
        self._reach(self._tokens + len(pairs))
        self._tokens += len(pairs)

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """So far; the last row is the end."""
        yield from self._rows
        if self._tokens and (not self._rows or self._rows[-1][0] != self._tokens):
            yield self._tokens, self._n, self._total

    def _score(self, pairs: Pairs, at: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        windows = pairs[at].windows()
        own = in_channel(windows, self._key)
        blocks = pack_blocks(windows[own], pairs[at[own]].tokens())
        scores = self._key.deployment.scheme.score(self._prf.words(blocks)).astype(np.int64)
        places, sums = self._tokens + at[own], np.cumsum(scores)
        while len(places) and self._next <= int(places[-1]):
            n = int(np.searchsorted(places, self._next))
            self._rows.append((self._next, self._n + n, self._total + (int(sums[n - 1]) if n else 0)))
            self._next = next(self._marks)
        self._n += len(scores)
        self._total += int(sums[-1]) if len(sums) else 0

    def _reach(self, tokens: int) -> None:
        """Rows of the marks up to here that no scored pair comes after."""
        while self._next <= tokens:
            self._rows.append((self._next, self._n, self._total))
            self._next = next(self._marks)
