"""The upper tail of a weighted sum of fair bits, by tilting and numerical inversion.

Symbols: `S` the sum, `x` the threshold, `n` pairs, `w` a weight, `c_w` how often it occurs,
`mu = n sum_w c_w w / 2`, `z = theta + i t`:

    K(z) = n sum_w c_w log((1 + e^(w z)) / 2) = mu z + n sum_w c_w log cosh(w z / 2)              (1)
    F(t) = exp(K(z) - K(theta) - i t x) / (1 - e^-z) = sum_d e^(i t d) f_d,  f_d >= 0             (2)
    P(S >= x) = exp(K(theta) - theta x) f_0,  theta > 0                                           (3)
    (1/M) sum_{j < M} F(2 pi j / M) = sum_l f_(l M)                                               (4)
    f_d <= F(-i eta) e^(-eta d),  eta > -theta                                                    (5)

(2) tilts the law as in Daniels 1954 and divides by 1 - e^-z to sum it from x on; theta is near its saddle point.
(4) is the lattice-Poisson inversion of Abate & Whitt 1992; (5) is Chernoff's bound on the terms that it folds in.
Both sources are named in `verify.tails`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from verify._loader import Floats

Weights = Sequence[tuple[int, int]]

_CELLS: Final = 2**18  # rows times nodes of one step along t
_TOLERANCE: Final = 1e-13  # for each of the two errors of an inversion, relative to the tail
_ROOM: Final = 12.0  # nats by which the estimate of f_0 that sets M may be wrong before the check objects


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


def log_sf(n: int, weights: Weights, x: Floats) -> Floats:
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
