"""Upper tails of the null laws, in log10: exact to rounding, without a floor, inclusive, never mid-p.

Symbols: `S` the statistic under its null law, `x` what was observed, `P(S >= x)` the tail, `n` scored pairs.
For the lattice law `w` is a weight, `c_w` how often it occurs, `mu = n sum_w c_w w / 2`, `z = theta + i t`:

    K(z) = n sum_w c_w log((1 + e^(w z)) / 2) = mu z + n sum_w c_w log cosh(w z / 2)              (1)
    F(t) = exp(K(z) - K(theta) - i t x) / (1 - e^-z) = sum_d e^(i t d) f_d,  f_d >= 0             (2)
    P(S >= x) = exp(K(theta) - theta x) f_0,  theta > 0                                           (3)
    (1/M) sum_{j < M} F(2 pi j / M) = sum_l f_(l M)                                               (4)
    f_d <= F(-i eta) e^(-eta d),  eta > -theta                                                    (5)

(2) tilts the law as in [3] and divides by 1 - e^-z to sum it from x on; theta is near its saddle point.
(4) is the lattice-Poisson inversion of [4]; (5) is Chernoff's bound on the terms that it folds in.
Gamma and binomial tails are in `_loader`, after [1] and [2].

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

from verify import _loader
from verify._loader import Floats, log_complement

Weights = Sequence[tuple[int, int]]

_N_MAX: Final = 2**40  # the tests reach it; rounding in the exponents costs about sqrt(n) eps
_WEIGHTED_N_MAX: Final = 2**34  # times 64 weights of 64 stays below 2^53
_WEIGHT_MAX: Final = 64
_BLOCK: Final = 4096  # rows at a time: 2.6 MB for each temporary of a quadrature
_CELLS: Final = 2**18  # rows times nodes of one step along t
_TOLERANCE: Final = 1e-13  # for each of the two errors of an inversion, relative to the tail
_ROOM: Final = 12.0  # nats by which the estimate of f_0 that sets M may be wrong before the check objects


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
    mean: the folded terms of (4), through (5), and the nodes left out of the sum, through the greatest |F|
    there, for which one weight must be 1. Rounding is not bounded: against mpmath and exact convolution the
    logarithm has a relative error below 1e-11 in all.

    Args:
        n: number of pairs, 0 to 2^34.
        weights: 1 to 64 whole numbers from 1 to 64, one of them 1; order is immaterial.
        x: whole numbers of an integer type, any array shape, at most n * sum(weights).

    Returns:
        log10 of the tail in (-inf, 0], shaped like `x`; 0.0 where x <= 0.

    Raises:
        ValueError: for n or weights out of range, or an x that is not whole or cannot be reached.
        ArithmeticError: if an error bound does not hold, which would be a bug.
    """
    n = _count(n, _WEIGHTED_N_MAX)
    if not 1 <= len(weights) <= _WEIGHT_MAX or not all(w in range(1, _WEIGHT_MAX + 1) for w in weights):
        raise ValueError(f"weights {weights!r} are not 1 to 64 whole numbers from 1 to 64")
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
        log_tail[inside] = _lattice_log_sf(n, counted, far[inside])
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


def _log_cosh(y: Floats) -> Floats:
    near = np.log1p(2 * np.sinh(np.minimum(y, 1) / 2) ** 2)
    return np.where(y < 1, near, y + np.log1p(np.exp(-2 * y)) - math.log(2))


def _log_modulus(t: Floats, theta: Floats, w: int) -> Floats:
    """log |1 + e^(w z)| - log(1 + e^(w theta)), which falls in t up to pi / w."""
    return 0.5 * np.log1p(-((np.sin(w * t / 2) / np.cosh(w * theta / 2)) ** 2))


def _worst_log_modulus(n: int, weights: Weights, t: Floats, theta: Floats) -> Floats:
    """A bound on log |exp(K(z) - K(theta))| over [t, pi]: up to pi / v, every factor with w <= v falls."""
    worst, previous = np.full_like(t, -np.inf), 0.0
    for i in reversed(range(len(weights))):
        start, end = np.maximum(t, previous), math.pi / weights[i][0]
        falling = sum((n * c * _log_modulus(start, theta, w) for w, c in weights[: i + 1]), np.zeros_like(t))
        worst, previous = np.where(start <= end, np.maximum(worst, falling), worst), end
    return worst


def _lattice_log_sf(n: int, weights: Weights, x: Floats) -> Floats:
    """log P(S >= x) for mu < x < n sum_w c_w w, by (3) and (4)."""
    top, zero = n * sum(w * c for w, c in weights), np.zeros_like(x)
    gap = (2 * x - top) / 2  # x - mu, exact

    def log_k(theta: Floats) -> Floats:  # K(theta) - mu theta
        return sum((n * c * _log_cosh(w * theta / 2) for w, c in weights), zero)

    def log_f(eta: Floats) -> Floats:  # log F(-i eta)
        return log_k(theta + eta) - log_k(theta) - eta * gap - np.log(-np.expm1(-theta - eta))

    spread = math.sqrt(n * sum(w * w * c for w, c in weights)) / 2
    low, high = np.full_like(x, 1 / (2 * spread + 1)), np.full_like(x, math.log(top + 2))
    for _ in range(40):  # every theta > 0 gives the same tail; rounding and M are least near this root
        theta = np.sqrt(low * high)
        mean = sum((n * c * w / 2 * np.tanh(w * theta / 2) for w, c in weights), zero)
        below = mean - gap - 1 / np.expm1(theta) < 0
        low, high = np.where(below, theta, low), np.where(below, high, theta)
    variance = sum((n * c * (w / 2 / np.cosh(w * theta / 2)) ** 2 for w, c in weights), zero)

    # A saddle-point estimate of f_0 is enough to set M: the check at the end uses f_0 itself.
    width = variance + 1 / (2 * np.sinh(theta / 2)) ** 2
    aim = log_f(zero) - 0.5 * np.log1p(2 * math.pi * width) + math.log(_TOLERANCE) - _ROOM
    sd = np.sqrt(variance)
    left = -np.stack([theta / 2, 0.75 * theta, 0.9 * theta, np.minimum(theta / 2, 9 / sd)])
    right = np.stack([4 / sd, 9 / sd, 20 / sd])
    period = np.maximum(*(np.min((log_f(eta) - aim) / np.abs(eta), axis=0) for eta in (left, right)))
    period = 2 * np.floor(np.maximum(period, 1) / 2) + 3  # odd: the nodes are 0 and conjugate pairs
    folded = zero
    for eta in (left, right):
        decay = np.abs(eta) * period
        folded = folded + np.exp(np.min(log_f(eta) - decay - np.log(-np.expm1(-decay)), axis=0))

    total = np.exp(log_f(zero)) / period
    live, done, step = np.arange(x.size), 0, 64
    while live.size:
        th, m = theta[live, None], period[live, None]
        j = np.arange(done + 1, done + 1 + step)
        t = 2 * math.pi * j / m
        size, phase = np.zeros_like(t), -t * gap[live, None]
        for w, c in weights:
            size += n * c * _log_modulus(t, th, w)
            phase += n * c * np.arctan2(np.tanh(w * th / 2) * np.sin(w * t / 2), np.cos(w * t / 2))
        re = -np.expm1(-th) + 2 * np.exp(-th) * np.sin(t / 2) ** 2  # 1 - e^-z without cancellation
        im = np.exp(-th) * np.sin(t)
        values = np.exp(size) * (np.cos(phase) * re + np.sin(phase) * im) / (re * re + im * im)
        total[live] += 2 / period[live] * np.sum(np.where(2 * j < m, values, 0.0), axis=1)
        done += step
        rest = np.exp(_worst_log_modulus(n, weights, t[:, -1], theta[live])) / -np.expm1(-theta[live])
        live = live[(2 * done + 1 < period[live]) & ~(rest <= _TOLERANCE * total[live])]
        step = max(64, min(2 * step, _CELLS // max(live.size, 1)))
    if not np.all(folded <= _TOLERANCE * total):
        raise ArithmeticError("the folded terms of the lattice inversion exceed their bound")
    log_tail: Floats = log_k(theta) - theta * gap + np.log(total)
    return log_tail
