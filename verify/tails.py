"""Upper tails of the null laws, in log10: exact to rounding, without a floor, inclusive, never mid-p.

Symbols: `S` the statistic under its null law, `x` what was observed, `P(S >= x)` the tail, `n` scored pairs.
Gamma and binomial tails are in `_loader`, after [1] and [2].
The weighted sum of bits is in `_lattice`, after [3] and [4].

References:
    [1] C. Loader, Fast and accurate computation of binomial probabilities, 2000.
    [2] A. DiDonato, A. Morris, Computation of the incomplete gamma function ratios and their inverse,
        ACM TOMS 12, 1986.
    [3] H. Daniels, Saddlepoint approximations in statistics, Annals of Mathematical Statistics 25, 1954.
    [4] J. Abate, W. Whitt, Numerical inversion of probability generating functions, OR Letters 12, 1992.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify import _lattice, _loader
from verify._loader import Floats, log_complement

_N_MAX: Final = 2**40  # the tests reach it; rounding in the exponents costs about sqrt(n) eps
_WEIGHTED_N_MAX: Final = 2**34  # times 128 weights of 64 stays below 2^53
_WEIGHTS_MAX: Final = 128
_WEIGHT_MAX: Final = 64
_BLOCK: Final = 4096  # rows at a time: 2.6 MB for each temporary of a quadrature


def gamma_log10_sf(shape: float, x: ArrayLike) -> Floats:
    """log10 P(Gamma(shape, 1) >= x): the null of a sum of `shape` unit exponentials (Gumbel scores).

    Against mpmath the logarithm has a relative error below 1e-9 (1e-11 up to shape 1e9), also where p is
    close to 1; it is 0.0 where 1 - p is below the range of a double.

    Args:
        shape: number of exponentials, whole or not, 0 to 2^40; 0 is the empty sum.
        x: thresholds in nats, any array shape, finite.

    Returns:
        log10 p in (-inf, 0], shaped like `x`.

    Raises:
        ValueError: for a shape out of range, an x that is not finite, or x > 0 with shape 0, whose p is 0.
    """
    if not 0 <= shape <= _N_MAX:
        raise ValueError(f"shape {shape!r} is not between 0 and {_N_MAX}")
    xs = np.asarray(x, dtype=np.float64)
    if not np.all(np.isfinite(xs)):
        raise ValueError("x holds a value that is not finite")
    if shape == 0 and np.any(xs > 0):
        raise ValueError("x above 0 cannot be reached by an empty sum (shape 0)")
    return _by_block(xs, xs > 0, lambda rows: _loader.gamma_log_sf(float(shape), rows))


def binomial_log10_sf(n: int, p: float, k: ArrayLike) -> Floats:
    """log10 P(Bin(n, p) >= k): the null of a count of hits (green tokens, unweighted tournament bits).

    Against mpmath the logarithm has a relative error below 1e-9 (1e-11 up to n = 1e9), also where p is
    close to 1; it is 0.0 where 1 - p is below the range of a double.

    Args:
        n: number of trials, 0 to 2^40.
        p: chance of a hit, 0 < p < 1, taken as the exact value of the double.
        k: whole numbers of an integer type, any array shape, at most n.

    Returns:
        log10 of the tail in (-inf, 0], shaped like `k`; 0.0 where k <= 0.

    Raises:
        ValueError: for n or p out of range, or a k that is not whole or cannot be reached.
    """
    n = _count(n, _N_MAX)
    if not 0 < p < 1:
        raise ValueError(f"p {p!r} is not strictly between 0 and 1")
    ks = _whole(k, n, "k")
    values, inverse = np.unique(ks, return_inverse=True)
    out = _by_block(values, values > 0, lambda rows: _loader.binomial_log_sf(n, float(p), rows))
    return out[inverse].reshape(ks.shape)


def weighted_binomial_log10_sf(n: int, weights: Sequence[int], x: ArrayLike) -> Floats:
    """log10 P(sum_i weights[i] Bin(n, 1/2) >= x): the null of weighted tournament layers.

    Two errors are bounded for each value as it is computed, each by 1e-13 of the tail on its side of the
    mean: the folded terms of the inversion and the nodes left out of its sum (`_lattice`), for which one
    weight must be 1. Rounding is not bounded: against mpmath and exact convolution the
    logarithm has a relative error below 1e-11 in all.

    Args:
        n: number of pairs, 0 to 2^34.
        weights: 1 to 128 whole numbers from 1 to 64, one of them 1; order is immaterial.
        x: whole numbers of an integer type, any array shape, at most n * sum(weights).

    Returns:
        log10 of the tail in (-inf, 0], shaped like `x`; 0.0 where x <= 0.

    Raises:
        ValueError: for n or weights out of range, or an x that is not whole or cannot be reached.
        ArithmeticError: if an error bound does not hold, which would be a bug.
    """
    n = _count(n, _WEIGHTED_N_MAX)
    if not 1 <= len(weights) <= _WEIGHTS_MAX or not all(w in range(1, _WEIGHT_MAX + 1) for w in weights):
        raise ValueError(f"weights {weights!r} are not 1 to 128 whole numbers from 1 to 64")
    if 1 not in weights:
        raise ValueError(f"weights {weights!r} hold no 1")
    counted = sorted(Counter(int(w) for w in weights).items())
    top = n * sum(w * c for w, c in counted)
    xs = _whole(x, top, "x")
    values, inverse = np.unique(xs, return_inverse=True)

    def log_sf(rows: Floats) -> Floats:
        upper = 2 * rows > top
        far = np.where(upper, rows, top - rows + 1)  # S and top - S have the same law
        log_tail = np.full_like(rows, -n * len(weights) * math.log(2))
        inside = far < top
        log_tail[inside] = _lattice.log_sf(n, counted, far[inside])
        return np.where(upper, log_tail, log_complement(log_tail))

    return _by_block(values, values > 0, log_sf)[inverse].reshape(xs.shape)


def _count(n: int, most: int) -> int:
    if not 0 <= n <= most:
        raise ValueError(f"n {n!r} is not between 0 and {most}")
    return operator.index(n)


def _whole(values: ArrayLike, most: int, name: str) -> Floats:
    found = np.asarray(values)
    if found.size and found.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold whole numbers of an integer type, not {found.dtype}")
    if found.size and found.max() > most:
        raise ValueError(f"{name} {found.max()} cannot be reached: the largest possible value is {most}")
    return found.astype(np.float64)


def _by_block(values: Floats, inside: NDArray[np.bool_], log_sf: Callable[[Floats], Floats]) -> Floats:
    """log10 of the tail where `inside`, and 0.0 elsewhere."""
    flat, out, rows = values.ravel(), np.zeros(values.size), np.flatnonzero(inside)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):  # remote nodes are meant to vanish
        for start in range(0, rows.size, _BLOCK):
            block = rows[start : start + _BLOCK]
            out[block] = log_sf(flat[block]) / math.log(10) + 0.0  # turns -0.0 into 0.0
    return out.reshape(values.shape)
