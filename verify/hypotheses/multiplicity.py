"""Many tests at once: the family is everything that was looked at, whether or not it looked good.

Symbols: m tests, p_(1) <= ... <= p_(m) ordered p-values, e_(1) >= ... >= e_(m) ordered e-values.
All in log10, so that a p-value below the range of a double still counts.

An adjusted value is the smallest level at which its test is rejected: compare it with the level that was fixed
before looking.
Holm controls the chance of one false rejection, under any dependence (Holm 1979, Scand. J. Statist. 6).
Benjamini-Hochberg controls the expected share of false rejections if the tests are independent or positively
dependent (Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57; Benjamini & Yekutieli 2001, Ann. Statist. 29).
e-BH controls that share under any dependence of the e-values (Wang & Ramdas 2022, J. R. Stat. Soc. B 84).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def holm(log10_p: ArrayLike, *, others: int = 0) -> Floats:
    """(m,) adjusted p: max over j <= i of (m - j + 1) p_(j), at most 1.

    Args:
        log10_p: (m,).
        others: more tests of the family, which count with p = 1.
    """
    p, order = _ordered(log10_p)
    adjusted = np.maximum.accumulate(p[order] + np.log10(others + np.arange(p.size, 0, -1)))
    return _back(adjusted, order)


def benjamini_hochberg(log10_p: ArrayLike) -> Floats:
    """(m,) adjusted p: min over j >= i of (m / j) p_(j), at most 1."""
    p, order = _ordered(log10_p)
    return _step_up(p[order], order)


def e_bh(log10_e: ArrayLike, *, others: int = 0) -> Floats:
    """(m,) adjusted level: min over j >= i of m / (j e_(j)), at most 1; e-BH at a rejects where this is at most a.

    Args:
        log10_e: (m,).
        others: more tests of the family, which count with e = 0.
    """
    e = _checked(log10_e, "an e-value")
    order = np.argsort(-e, kind="stable")
    return _step_up(-e[order], order, others)


def _step_up(log10_level: Floats, order: NDArray[np.intp], others: int = 0) -> Floats:
    m = log10_level.size
    scaled = log10_level + np.log10(m + others) - np.log10(np.arange(1, m + 1)) if m else log10_level
    return _back(np.minimum.accumulate(scaled[::-1])[::-1], order)


def _ordered(log10_p: ArrayLike) -> tuple[Floats, NDArray[np.intp]]:
    p = _checked(log10_p, "a p-value")
    if (p > 0).any():
        raise ValueError(f"log10 p {p.max():g} is above 0")
    return p, np.argsort(p, kind="stable")


def _checked(values: ArrayLike, what: str) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1 or np.isnan(found).any():
        raise ValueError(f"the logarithm of {what} is not a number, or they are not in one row")
    return found


def _back(adjusted: Floats, order: NDArray[np.intp]) -> Floats:
    out = np.empty_like(adjusted)
    out[order] = np.minimum(adjusted, 0.0)
    return out
