"""Intervals that stand beside every measured number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

LEVEL = 0.95


def share(count: int, n: int) -> dict[str, Any]:
    """A share with Clopper and Pearson's 95 % interval (Biometrika 26, 1934), which is exact."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, n - count + 1, tail))
    high = 1.0 if count == n else float(betaincinv(count + 1, n - count, 1 - tail))
    return {"count": count, "n": n, "share": count / n, "low": low, "high": high}


def mean(values: ArrayLike, *, seed: int = 0, repeats: int = 2000) -> dict[str, Any]:
    """A mean with a 95 % interval by the bootstrap over the values (Efron 1979), which are taken as independent."""
    v = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, len(v), (repeats, len(v)))
    low, high = np.quantile(v[picks].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"n": len(v), "mean": float(v.mean()), "low": float(low), "high": float(high)}


def quantiles(values: ArrayLike) -> dict[str, Any]:
    """Median and quartiles over documents: how they differ, not how well the median is known."""
    v = np.asarray(values, dtype=np.float64)
    low, middle, high = np.quantile(v, [0.25, 0.5, 0.75])
    return {"n": len(v), "median": float(middle), "low": float(low), "high": float(high)}
