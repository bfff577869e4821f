"""The upper tail of a sum of signed magnitudes under fair signs.

Symbols: w_i whole positive weights, b_i independent fair bits, S = sum_i w_i b_i, W = sum_i w_i, M = W / 2.

Up to `EXACT_PAIRS` weights the law is computed by convolution, weight by weight (the exact null of Wilcoxon's signed
ranks, Biometrics Bulletin 1, 1945, for any weights): every term is positive, so the relative error is below n 2^-52.
Beyond, Chernoff's bound: ln P(S >= x) <= min_theta sum_i ln cosh(theta w_i / 2) - theta (x - M).
"""

from __future__ import annotations

from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

EXACT_PAIRS: Final = 1000  # 2^-1000 is still a normal double
MAX_TOTAL: Final = 1 << 22  # of the weights, for a convolution of a second

_ROUNDING: Final = 1e-9  # more than the rounding of any sum here, in nats per nat


def signed_sum_log10_sf(weights: NDArray[np.int64], x: int) -> float:
    """log10 P(S >= x): exact for few weights, else an upper bound.

    Args:
        weights: (n,) whole numbers of at least 1.
        x: the observed sum, at most W.

    Raises:
        ValueError: weights below 1, or an x that cannot be reached.
    """
    total = int(weights.sum())
    if weights.size and int(weights.min()) < 1:
        raise ValueError(f"weight {int(weights.min())} is not at least 1")
    if x > total:
        raise ValueError(f"sum {x} cannot be reached: the largest possible value is {total}")
    if x <= 0:
        return 0.0
    if len(weights) <= EXACT_PAIRS and total <= MAX_TOTAL:
        return _by_convolution(weights, total, x)
    return _chernoff(weights.astype(np.float64), x - total / 2)


def _by_convolution(weights: NDArray[np.int64], total: int, x: int) -> float:
    law, reach = np.zeros(total + 1), 0
    law[0] = 1.0
    for w in np.sort(weights).tolist():
        law[: reach + 1] /= 2
        moved = law[: reach + 1].copy()
        law[w : reach + w + 1] += moved
        reach += w
    # From the small end, so that small terms are not lost.
    tail = float(law[x:][::-1].sum())
    return min(0.0, log(tail) / log(10))


def _chernoff(weights: NDArray[np.float64], gap: float) -> float:
    if gap <= 0:
        return 0.0
    low, high = 1e-12 / float(weights.max()), 1e4 / float(weights.min())
    for _ in range(200):  # the root of K'(theta) = gap; any theta gives a bound
        theta = (low * high) ** 0.5
        if 0.5 * float((weights * np.tanh(theta * weights / 2)).sum()) < gap:
            low = theta
        else:
            high = theta
    half = theta * weights / 2
    k = float((half + np.log1p(np.exp(-2 * half)) - log(2)).sum())
    bound = float(k - theta * gap + _ROUNDING * (k + theta * gap))
    return min(0.0, bound / log(10))
