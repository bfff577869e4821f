"""The largest of logit plus Gumbel noise, without the noise of candidates that cannot have it.

Symbols: c candidates, l(v) logit, r0(v) PRF word, n(v) = -ln(-ln u(v)) its noise, b(v) >= 0 a bonus.
The draw is argmax_v n(v) + l(v) + b(v), the lowest index of equals, in double precision.

A candidate is *hot* if r0 >= 2^64 (1 - 2^-10). Else u < 1 - 2^-10, so -ln u > 2^-10 and n < 10 ln 2 < 6.94.
With m the largest value among the hot candidates and the one with the largest logit, a candidate that is neither hot
nor has l >= m - 7 - max b is below m by more than 0.06, which no rounding makes up for (|m| <= 4096, and a float32
threshold is off by less than 0.001). So two comparisons per candidate leave few for the two logarithms: about c / 1024
hot ones, and at most e^7 times a number of order one of the others, as sum_v exp(l(v) - m) is of order one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from watermark.prf import gumbel_noise
from watermark.schemes import Indices, Logits, WordsOf

# Candidates handled at once: small enough that temporaries come from the heap again and again, without page faults.
CHUNK_CANDIDATES: Final = 1 << 15
HOT: Final = np.uint64((1 << 64) - (1 << 54))
COLD_NOISE: Final = 7.0
LARGEST: Final = 4096.0
FEW: Final = 1024  # below, the two logarithms cost less than choosing

Bonus = Callable[[slice | Indices], NDArray[np.floating[Any]]]


def chunks(count: int) -> Iterator[slice]:
    """Slices that cover `count` candidates in order."""
    for start in range(0, count, CHUNK_CANDIDATES):
        yield slice(start, min(start + CHUNK_CANDIDATES, count))


def gumbel_max(logits: Logits, words: WordsOf, *, bonus: Bonus | None = None, most: float = 0.0) -> int:
    """argmax_v logits(v) - ln(-ln u(v)): one draw from softmax(logits) if the words are random.

    Args:
        logits: (c,) without NaN and +inf, at least one finite.
        words: PRF words of some candidates.
        bonus: what some candidates gain.
        most: the largest bonus.

    Returns:
        The index of the largest, the first of equals.
    """

    def values(at: slice | Indices, r0: NDArray[np.uint64]) -> NDArray[np.floating[Any]]:
        found = gumbel_noise(r0) + logits[at]
        return found if bonus is None else found + bonus(at)

    if len(logits) > FEW:
        contenders = _contenders(logits, words, values, most)
        if contenders is not None:
            return contenders
    best, index = -np.inf, 0
    for part in chunks(len(logits)):
        found = values(part, words(part)[:, 0])
        place = int(found.argmax())
        if found[place] > best:
            best, index = float(found[place]), part.start + place
    return index


def _contenders(
    logits: Logits,
    words: WordsOf,
    values: Callable[[slice | Indices, NDArray[np.uint64]], NDArray[np.floating[Any]]],
    most: float,
) -> int | None:
    """The draw from those that can have it, or None if the logits are too large for the argument to hold."""
    # All words at once: so they are at hand for the second choice. r0 and r1 stand in turn, and comparing both is
    # faster than with a stride.
    flat = words(slice(0, len(logits))).reshape(-1)
    hot = np.flatnonzero(flat >= HOT)
    at = np.append(hot[hot & 1 == 0] >> 1, logits.argmax())
    found = values(at, flat[2 * at])
    highest = float(found.max())
    if not abs(highest) + most <= LARGEST:
        return None
    near = np.flatnonzero(logits >= highest - most - COLD_NOISE)
    if len(near):
        at = np.concatenate([at, near])
        found = np.concatenate([found, values(near, flat[2 * near])])
    return int(at[found == found.max()].min())


def first_maxima(values: NDArray[np.float64], starts: Indices) -> Indices:
    """For rows laid end to end the index of the largest value of each, the first of equals.

    Args:
        values: (n,).
        starts: (B,) where each row begins; none is empty.
    """
    counts = np.diff(starts, append=len(values))
    at = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), counts))
    return at[np.searchsorted(at, starts)]
