"""Null laws of integer scores, as data: a scheme names its law, `verify.tails` evaluates it.

Symbols: s one score in the scheme's natural unit (integer score / `unit`), n scores, theta > 0, mu = E s, x real.
Under H0 (the text does not depend on the key) the scores of distinct pairs are independent with the law.
`log_mgf` may be a bound. `log_mgf_centred` is ln E exp(x (s - mu)) of the integer score as it is rounded, for x of
either sign: where coefficients are small or negative, a bound on the scores is no bound on the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import factorial
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SERIES_BELOW: Final = 0.25
_TERMS: Final = 24  # central moments of Exp(1) are at most n!, so the remainder is below 0.25^22 of the whole


@dataclass(frozen=True)
class ExponentialLaw:
    """integer score / unit is at most an Exp(1) variable, so the sum's tail is at most Gamma(n, 1)'s.

    Attributes:
        unit: integer score of one natural unit (a nat).
        mean: of the score as it is rounded, slightly below 1.
        table: the integer scores, each equally likely.
    """

    unit: int
    mean: float
    table: NDArray[np.int64] = field(repr=False, compare=False)
    variance: float = 1.0

    def log_mgf(self, theta: Floats) -> Floats:
        """ln E exp(theta s) <= -ln(1 - theta), infinite from theta = 1 on."""
        with np.errstate(divide="ignore"):
            return np.where(theta < 1, -np.log1p(-np.minimum(theta, 1.0)), np.inf)

    def log_mgf_centred(self, x: Floats) -> Floats:
        """ln E exp(x (s - mu)), by central moments for small x: (m,) -> (m,)."""
        c = self.table / self.unit
        c -= c.mean()
        out, small = np.empty_like(x), np.abs(x) < SERIES_BELOW
        power, series = c.copy(), np.zeros(int(small.sum()))
        for n in range(2, _TERMS):
            power *= c
            series += float(power.mean()) / factorial(n) * x[small] ** n
        out[small] = np.log1p(series)
        out[~small] = [np.log(np.exp(value * c).mean()) for value in x[~small]]
        return out


@dataclass(frozen=True)
class BernoulliLaw:
    """The score is 1 with probability at most p, else 0.

    Attributes:
        p: probability of a one.
    """

    p: float
    unit: int = 1

    @property
    def mean(self) -> float:
        """E s."""
        return self.p

    @property
    def variance(self) -> float:
        """Var s."""
        return self.p * (1 - self.p)

    def log_mgf(self, theta: Floats) -> Floats:
        """ln E exp(theta s) = ln(1 + p (e^theta - 1))."""
        return np.log1p(self.p * np.expm1(theta))

    def log_mgf_centred(self, x: Floats) -> Floats:
        """ln E exp(x (s - p)) = ln(1 + (1 - p) phi(-p x) + p phi((1 - p) x)), phi(y) = e^y - 1 - y: no cancellation."""
        return np.log1p((1 - self.p) * _phi(-self.p * x) + self.p * _phi((1 - self.p) * x))


@dataclass(frozen=True)
class WeightedBitsLaw:
    """The score is a sum of weights[i] * bit i over independent fair bits.

    Attributes:
        weights: positive integers, one of them 1.
    """

    weights: tuple[int, ...]

    @property
    def unit(self) -> int:
        """Scores are in shares of the total weight: between 0 and 1, 1/2 on average."""
        return sum(self.weights)

    @property
    def mean(self) -> float:
        """E s."""
        return 0.5

    @property
    def variance(self) -> float:
        """Var s."""
        return sum(w * w for w in self.weights) / (4 * self.unit**2)

    def log_mgf(self, theta: Floats) -> Floats:
        """ln E exp(theta s): a sum of ln((1 + exp(theta w / unit)) / 2)."""
        scaled = np.asarray(theta)[..., None] * (np.array(self.weights) / self.unit)
        total: Floats = (np.logaddexp(0.0, scaled) - np.log(2.0)).sum(axis=-1)
        return total

    def log_mgf_centred(self, x: Floats) -> Floats:
        """A sum of ln cosh(x w / (2 unit)), with cosh y = 1 + 2 sinh(y / 2)^2."""
        quarter = np.asarray(x)[..., None] * (np.array(self.weights) / (4 * self.unit))
        total: Floats = np.log1p(2 * np.sinh(quarter) ** 2).sum(axis=-1)
        return total


def _phi(y: Floats) -> Floats:
    """e^y - 1 - y to full relative precision."""
    small = np.where(np.abs(y) < 1, y, 0.0)
    series = np.ones_like(small)
    for n in range(20, 2, -1):  # 1/20! < 1e-18
        series = 1 + series * small / n
    return np.where(np.abs(y) < 1, small * small / 2 * series, np.expm1(y) - y)


Law = ExponentialLaw | BernoulliLaw | WeightedBitsLaw
