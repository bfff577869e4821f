"""Linear forms in independent scores: S = sum_i a_i (s_i - mu), |a_i| <= 1, of either sign.

Symbols: s_i scores of distinct PRF inputs in the law's natural unit, mu = E s, a_i coefficients that were fixed without
the key, K(x) = ln E exp(x (s - mu)), theta > 0.
H0: the coefficients do not depend on the key, so the s_i are independent with the scheme's law.

Chernoff (1952): P(S >= x) <= exp(sum_i K(theta a_i) - theta x) for every theta > 0, so also the least of them.
Coefficients are integers in units of 2^-20, so that sums are exact and any partition gives the same bytes.
K is convex with its minimum 0 at 0: it grows on both sides, and |a_i| rounded up to a power of 2^(1/64) gives a bound,
about 1 % above K. On that grid the sum over i for all theta is one correlation of a histogram with K.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import log, log2, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from watermark.schemes.laws import Law

ONE: Final = 1 << 20  # fixed point of a coefficient of 1
STEPS: Final = 64  # grid points an octave
_BINS: Final = 20 * STEPS + 1  # 2^-20 ... 1
_EXACT_TERMS: Final = 1 << 12  # |a s| < 2^51, so this many terms cannot overflow 64 bits
# x in standard deviations of a score: from 2^-40 to 2^2, where any real mark has long been found; beyond, K counts as
# infinite (a finite number, as infinity times an empty bin would be NaN).
_LOWEST: Final = -40 * STEPS
_HIGHEST: Final = 2 * STEPS
_INFINITE: Final = 1e200
_COARSE: Final = 4  # K is computed at every fourth point: a chord of a convex function lies above it, here by 0.05 %
_APART: Final = 2 * _COARSE  # grid points between which chords look smooth
# Rounding in K, in the correlation and in mu, and a Bernoulli p that is one unit in the last place too large.
_INFLATION: Final = 1e-6
_SHIFT: Final = 1e-15
# theta of the e-value in 1 / sd(s), fixed in advance: two a factor of 2, from ten windows of small coefficients to
# 10^9 windows of large ones.
_MIXTURE: Final = np.arange(-14 * STEPS, 7 * STEPS + 1, STEPS // 2)
COMPONENTS: Final = len(_MIXTURE)

Floats = NDArray[np.float64]
Fixed = NDArray[np.int64]


@cache
def _bin_table() -> NDArray[np.int16]:
    """Bin of the coefficient A - ONE: 0 ... _BINS - 1 for positive ones, _BINS higher for negative ones."""
    magnitude = np.arange(1, ONE + 1, dtype=np.float64)
    bins = np.ceil(STEPS * np.log2(magnitude)).astype(np.int16)
    return np.concatenate([bins[::-1] + np.int16(_BINS), [np.int16(0)], bins])


def fixed_point(coefficients: Floats) -> Fixed:
    """Coefficients in units of 2^-20, clipped to [-1, 1].

    Raises:
        ValueError: a NaN.
    """
    scaled = np.clip(coefficients, -1.0, 1.0)
    scaled *= ONE
    np.rint(scaled, out=scaled)
    if np.isnan(scaled).any():
        raise ValueError("a coefficient is not a number")
    return scaled.astype(np.int64)


@dataclass(frozen=True, eq=False)
class LinearForm:
    """What a linear form needs to be tested; forms over disjoint PRF inputs add up.

    Attributes:
        n_windows: windows that contributed.
        n_terms: coefficients that are not zero.
        total: sum of coefficient times integer score, in 2^-20 of the law's integer unit.
        sum_coefficients: sum of coefficients in 2^-20.
        sum_squares: sum of their squares in 2^-40.
        positive: (1281,) int64, how many coefficients a have 2^((i-1)/64) < 2^20 a <= 2^(i/64).
        negative: (1281,) int64, the same of -a.
    """

    n_windows: int
    n_terms: int
    total: int
    sum_coefficients: int
    sum_squares: int
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]

    @classmethod
    def empty(cls) -> LinearForm:
        """The form without terms."""
        return cls(0, 0, 0, 0, 0, np.zeros(_BINS, dtype=np.int64), np.zeros(_BINS, dtype=np.int64))

    @classmethod
    def of(cls, coefficients: Fixed, scores: NDArray[np.int64], *, n_windows: int) -> LinearForm:
        """The form of (m,) coefficients from `fixed_point`, none of them zero, and (m,) integer scores below 2^31."""
        starts = range(0, len(coefficients), _EXACT_TERMS)
        if not starts:
            return LinearForm(n_windows, 0, 0, 0, 0, cls.empty().positive, cls.empty().negative)
        bins = np.bincount(_bin_table().take(coefficients + ONE), minlength=2 * _BINS)
        return cls(
            n_windows=n_windows,
            n_terms=len(coefficients),
            total=sum(np.add.reduceat(coefficients * scores, starts).tolist()),
            sum_coefficients=int(coefficients.sum()),
            sum_squares=sum(np.add.reduceat(coefficients * coefficients, starts).tolist()),
            positive=bins[:_BINS],
            negative=bins[_BINS:],
        )

    def __add__(self, other: LinearForm) -> LinearForm:
        return LinearForm(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def to_bytes(self) -> bytes:
        """A canonical form: equal terms give equal bytes, however they were partitioned."""
        arrays = {name: getattr(self, name).tolist() for name in ("positive", "negative")}
        return json.dumps(vars(self) | arrays, sort_keys=True).encode()


def centred_sum(law: Law, form: LinearForm) -> float:
    """S."""
    return float((Fraction(form.total, law.unit) - Fraction(law.mean) * form.sum_coefficients) / ONE)


def standard_deviation(law: Law, form: LinearForm) -> float:
    """Of S under H0."""
    return sqrt(law.variance * form.sum_squares) / ONE


def z(law: Law, form: LinearForm) -> float:
    """S in standard deviations, 0 for a form without terms."""
    return centred_sum(law, form) / standard_deviation(law, form) if form.n_terms else 0.0


def log10_p(law: Law, form: LinearForm) -> float:
    """log10 of an upper bound of P(S >= observed), for coefficients that were fixed before the key: at most 0."""
    theta, log_mgf = _log_mgf(law, form)
    return min(0.0, float((log_mgf - theta * centred_sum(law, form)).min()) / log(10))


def log10_e(law: Law, form: LinearForm) -> float:
    """log10 of the mean over a grid of theta of exp(theta S - sum_i K(theta a_i)): E[e] <= 1 under H0.

    Also where each coefficient depends on scores of *earlier* terms: the exponentials are supermartingales.
    """
    theta, log_mgf = _log_mgf(law, form)
    chosen = _MIXTURE - _FIRST_THETA
    exponents = theta[chosen] * centred_sum(law, form) - log_mgf[chosen]
    return float(np.logaddexp.reduce(exponents) - np.log(len(chosen))) / log(10)


def detectable(law: Law, form: LinearForm, log10_alpha: float, *, mixture: bool) -> float:
    """An S at which log10 p is at most `log10_alpha`; with `mixture`, at which log10 e is at least its negative."""
    theta, log_mgf = _log_mgf(law, form)
    needed = -log10_alpha * log(10)
    if mixture:  # one of the components alone
        chosen = _MIXTURE - _FIRST_THETA
        theta, log_mgf, needed = theta[chosen], log_mgf[chosen], needed + log(len(chosen))
    return float(((log_mgf + needed) / theta).min())


def log10_p_estimate(law: Law, form: LinearForm) -> float:
    """log10 P(S >= observed), estimated: no bound, and not for decisions.

    exp(K - theta S + l^2 / 2) Phi(-l), l = theta sqrt(K''), at the saddle point (Robinson 1982, after Daniels 1954).
    """
    theta, log_mgf = _log_mgf(law, form)
    exponents = log_mgf - theta * centred_sum(law, form)
    j = int(exponents.argmin())
    if exponents[j] >= 0:
        return 0.0
    if j < _APART or j + _APART >= len(theta) or log_mgf[j + _APART] >= _INFINITE:
        return float(exponents[j]) / log(10)
    before, here, after = log_mgf[j - _APART : j + _APART + 1 : _APART]
    # theta^2 K'' from derivatives by ln theta.
    step = _APART / STEPS * log(2)
    square = max((after - 2 * here + before) / step**2 - (after - before) / (2 * step), 0.0)
    return float(exponents[j] + square / 2 + log_ndtr(-sqrt(square))) / log(10)


_FIRST_THETA: Final = _LOWEST + _BINS - 1  # where the smallest coefficient meets the lowest point of the grid


def _log_mgf(law: Law, form: LinearForm) -> tuple[Floats, Floats]:
    """Grid of theta, and sum_i K(theta a_i) rounded up."""
    positive, negative = _grid(law)
    total = np.correlate(positive, form.positive.astype(np.float64), "valid")
    total += np.correlate(negative, form.negative.astype(np.float64), "valid")
    return _x_unit(law) * 2.0 ** ((np.arange(len(total)) + _FIRST_THETA) / STEPS), total


@cache
def _grid(law: Law) -> tuple[Floats, Floats]:
    """K(x) and K(-x) at x = 2^(m/64) / sd(s), m = _LOWEST ..."""
    at = np.arange(_LOWEST, _HIGHEST + 1)
    x, coarse = (_x_unit(law) * 2.0 ** (points / STEPS) for points in (at, at[::_COARSE]))
    beyond = np.full(_BINS - 1, _INFINITE)
    grids = []
    for sign in (1.0, -1.0):
        k = np.interp(x, coarse, law.log_mgf_centred(sign * coarse)) * (1 + _INFLATION) + _SHIFT * x
        grids.append(np.concatenate([k, beyond]))
    return grids[0], grids[1]


def _x_unit(law: Law) -> float:
    """About 1 / sd(s)."""
    return float(2.0 ** (round(-STEPS / 2 * log2(law.variance)) / STEPS))
