"""All keys of a set on all texts, in one pass.

Symbols: D texts, K keys, n_d pairs of text d in the channel, S_dk the sum of their scores under key k.

H0 of (d, k): text d does not depend on value key k, and both were fixed before anybody looked. It may depend on any
other key: a text of one account is an innocent of all others. p and e are those of the closed test
(`verify.hypotheses.closed`), each valid by itself; tests that share a text or a key are dependent, which Holm and e-BH
allow.
Where there are very many tests only those with p <= `CUT` are kept. The others count in the family with p = 1 and
e = 0, so that fewer are named and never more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.distinct import Pairs
from verify.hypotheses import closed
from verify.scoring import CHUNK_PAIRS
from verify.tracing.keysets import KeySet
from verify.tracing.texts import Texts
from watermark.channels import CHANNELS, select
from watermark.prf import Prf, pack_blocks
from watermark.schemes.laws import Law

ALL_KEPT: Final = 1 << 20  # tests whose p-values are all computed
CUT: Final = 1e-3
KEYS_AT_ONCE: Final = 1024
TOTALS_AT_ONCE: Final = 1 << 24  # texts times keys whose sums are held

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Hits:
    """Tests that were kept, in order of key.

    Attributes:
        n_tests: how many there were in all: D K.
        text: (m,) index of the text.
        key: (m,) index of the key.
        n: (m,) pairs scored.
        total: (m,) integer score.
        log10_p: (m,).
        log10_e: (m,).
    """

    n_tests: int
    text: Ints
    key: Ints
    n: Ints
    total: Ints
    log10_p: NDArray[np.float64]
    log10_e: NDArray[np.float64]


def scan(texts: Texts, keys: KeySet, *, progress: Callable[[int], None] = lambda keys: None) -> Hits:
    """Score every text under every key.

    Args:
        texts: D texts with pairs of the keys' width.
        keys: K keys.
        progress: called with the number of keys done since the last call.
    """
    law, scheme = keys.any_key.deployment.scheme.law, keys.any_key.deployment.scheme
    mine = _in_channel(texts.pairs, keys)
    pairs = texts.pairs[mine]
    bounds = np.concatenate([[0], np.cumsum(mine)])[texts.offsets]
    n = np.diff(bounds)
    n_tests = len(n) * len(keys)
    floor = _floors(law, n, CUT if n_tests > ALL_KEPT else 1.0)
    chunks = [
        (first, last, pack_blocks(part.windows(), part.tokens()), bounds[first:last] - bounds[first])
        for first, last in _groups(bounds)
        for part in [pairs[bounds[first] : bounds[last]]]
    ]
    found: list[tuple[Ints, Ints, Ints]] = []
    step = max(1, min(KEYS_AT_ONCE, TOTALS_AT_ONCE // max(1, len(n))))
    for start in range(0, len(keys), step):
        prfs = [Prf(secret) for secret in keys.keys(start, min(start + step, len(keys)))]
        totals = np.zeros((len(prfs), len(n)), dtype=np.int64)
        for first, last, blocks, begins in chunks:  # the outer loop, so that a chunk stays in the cache for all keys
            for row, prf in enumerate(prfs):
                scores = scheme.score(prf.words(blocks))
                totals[row, first:last] += np.add.reduceat(scores, begins)
        rows, columns = np.nonzero(totals >= floor)
        found.append((columns, rows + start, totals[rows, columns]))
        progress(len(prfs))
    text, key, total = (np.concatenate(column) for column in zip(*found, strict=True))
    p, e = np.zeros(len(text)), np.zeros(len(text))
    for size in np.unique(n[text][n[text] > 0]).tolist():
        here = n[text] == size
        p[here] = closed.log10_p(law, size, total[here])
        e[here] = closed.log10_e_values(law, size, total[here])
    return Hits(n_tests, text, key, n[text], total, p, e)


def _in_channel(pairs: Pairs, keys: KeySet) -> NDArray[np.bool_]:
    selector, own = Prf(keys.any_key.selector), CHANNELS.index(keys.channel)
    found = np.empty(len(pairs), dtype=bool)
    for start in range(0, len(pairs), CHUNK_PAIRS):
        windows = pairs[start : start + CHUNK_PAIRS].windows()
        found[start : start + CHUNK_PAIRS] = select(selector, keys.any_key.deployment.shares, windows) == own
    return found


def _groups(bounds: Ints) -> Iterator[tuple[int, int]]:
    """Ranges of texts with pairs, each of about `CHUNK_PAIRS` pairs or of one text; texts without a pair are left out.

    `numpy.add.reduceat` gives an element, not zero, for an empty range: so there is none.
    """
    texts = np.flatnonzero(np.diff(bounds)).tolist()
    while texts:
        first, last = texts[0], texts[0] + 1
        size = bounds[last] - bounds[first]
        count = 1
        while count < len(texts) and texts[count] == last and size + bounds[last + 1] - bounds[last] <= CHUNK_PAIRS:
            size += bounds[last + 1] - bounds[last]
            last, count = last + 1, count + 1
        yield first, last
        texts = texts[count:]


def _floors(law: Law, n: Ints, level: float) -> Ints:
    """(D,) the smallest integer total of each text whose p is at most `level`."""

    @cache
    def smallest(size: int) -> int:
        if level >= 1 or not size:
            return int(level < 1)
        low, high = -1, int(size * law.unit * 64)
        while high - low > 1:
            middle = (low + high) // 2
            held = float(closed.log10_p(law, size, middle)) <= log10(level)
            low, high = (low, middle) if held else (middle, high)
        return high

    return np.array([smallest(int(size)) for size in n], dtype=np.int64)
