"""Rejection rates of correlated students: clusters, the effective number, an interval that knows of both.

Symbols: G clusters (true keys), n students, p the rate, D the design effect: the variance of the rate with students
of a cluster alike, over the variance if they were independent.
The effective number is n / D, and the interval is Clopper and Pearson's at that number (Korn & Graubard 1998, Survey
Methodology 24). D is estimated at the 5 % level, where rejections are common enough to see it, and used at all
levels; it is never taken below 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

LEVELS: Final = (0.05, 0.01, 0.001)


@dataclass(frozen=True)
class Rate:
    """How often a test rejected.

    Attributes:
        level: nominal.
        rejected: students.
        n: students.
        effective: n / D.
        low: of the 95 % interval of the rate.
        high: of it.
    """

    level: float
    rejected: int
    n: int
    effective: float
    low: float
    high: float


def design_effect(rejected: NDArray[np.bool_]) -> float:
    """D of (G, m) rejections, a row a cluster."""
    clusters, size = rejected.shape
    p = rejected.mean()
    if p in (0.0, 1.0) or clusters < 2:
        return 1.0
    between = ((rejected.sum(axis=1) - size * p) ** 2).sum() * clusters / (clusters - 1)
    return max(1.0, float(between / (rejected.size * p * (1 - p))))


def rates(log10_p: NDArray[np.float64], *, levels: tuple[float, ...] = LEVELS) -> list[Rate]:
    """Rejection rates of (G, m) p-values, a row a cluster, at each level."""
    effective = log10_p.size / design_effect(log10_p <= np.log10(0.05))
    found = []
    for level in levels:
        rejected = int((log10_p <= np.log10(level)).sum())
        k = rejected * effective / log10_p.size
        low = float(betaincinv(k, effective - k + 1, 0.025)) if rejected else 0.0
        high = float(betaincinv(k + 1, effective - k, 0.975)) if rejected < log10_p.size else 1.0
        found.append(Rate(level, rejected, log10_p.size, round(effective, 1), round(low, 6), round(high, 6)))
    return found
