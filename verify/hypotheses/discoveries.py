"""At least how many of these: closed testing with Simes' test, for every set at once.

Symbols: m tests, p_(1) <= ... <= p_(m), level alpha, S any set of tests, chosen at will and after looking.

Simes' test rejects an intersection of i nulls if some p_(j) among them is at most j alpha / i: valid for independent
p-values, and for positively dependent ones (Simes 1986, Biometrika 73).
Closed testing with it says of every S how many of its nulls are false at least, all at once with probability 1 - alpha
(Goeman & Solari 2011, Statist. Sci. 26). Without going through 2^m sets (Goeman, Meijer, Krebs & Solari 2019,
Biometrika 106, eqs. 2 to 4):

    h = max {i : i p_(m-i+j) > j alpha for all j = 1 ... i}        the largest set that could be all true nulls
    d(S) = max over u = 1 ... |S| of  1 - u + #{i in S : h p_i <= u alpha},  at least 0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_UP = 1 + 1e-12  # a p that equals a bound but for rounding is taken as above it


def true_nulls_at_most(log10_p: ArrayLike, alpha: float) -> int:
    """h: how many of the tests could be true nulls, with confidence 1 - alpha.

    Args:
        log10_p: (m,).
        alpha: the level.
    """
    p = np.sort(_checked(log10_p))
    m = p.size
    # i p_(r) > (r - m + i) alpha is i < (m - r) / (1 - p_(r) / alpha) where p_(r) < alpha, and true elsewhere. What is
    # left of these bounds over r > m - i falls as i grows: one crossing.
    ratio = np.minimum(10.0 ** (p - np.log10(alpha)) * _UP, 2.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bound = np.where(ratio < 1, np.arange(m - 1, -1, -1) / (1 - ratio), np.inf)
    least = np.minimum.accumulate(bound[::-1])  # over r > m - i, at i - 1
    holds = np.arange(1, m + 1) < least
    return int(holds.sum())


def discoveries(log10_p: ArrayLike, chosen: ArrayLike, alpha: float) -> int:
    """d(S): at least so many of the chosen tests' nulls are false.

    With probability 1 - alpha this holds for all sets at once, however they were chosen.

    Args:
        log10_p: (m,) of all tests that were made.
        chosen: (m,) bool, or indices.
        alpha: the level.

    Raises:
        ValueError: a p-value that is none.
    """
    p = _checked(log10_p)
    own = np.sort(p[np.asarray(chosen, dtype=None if np.size(chosen) else np.intp)])
    if not own.size:
        return 0
    h = true_nulls_at_most(p, alpha)
    if h == 0:
        return own.size
    # Smallest u with h p <= u alpha; the j-th smallest of S gives j + 1 - u once u reaches it.
    needed = np.ceil(np.minimum(h * 10.0 ** (own - np.log10(alpha)), 1e18) * _UP)
    u = np.maximum(needed, 1.0)
    found = np.arange(1, own.size + 1) + 1 - u
    return max(0, int(found[u <= own.size].max(initial=0.0)))


def _checked(values: ArrayLike) -> Floats:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 1 or np.isnan(p).any() or (p > 0).any():
        raise ValueError("log10 p is above 0, is not a number, or they are not in one row")
    return p
