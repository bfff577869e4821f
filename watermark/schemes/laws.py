"""Null laws of integer scores, as data: a scheme names its law, `verify.tails` evaluates it.

Symbols: s one score in the scheme's natural unit (integer score / `unit`), n scores, theta > 0.
Under H0 (the text does not depend on the key) the scores of distinct pairs are independent with the law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExponentialLaw:
    """integer score / unit is at most an Exp(1) variable, so the sum's tail is at most Gamma(n, 1)'s.

    Attributes:
        unit: integer score of one natural unit (a nat).
        mean: of the score as it is rounded, slightly below 1.
    """

    unit: int
    mean: float
    variance: float = 1.0

    def log_mgf(self, theta: Floats) -> Floats:
        """ln E exp(theta s) <= -ln(1 - theta), infinite from theta = 1 on."""
        with np.errstate(divide="ignore"):
            return np.where(theta < 1, -np.log1p(-np.minimum(theta, 1.0)), np.inf)


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


Law = ExponentialLaw | BernoulliLaw | WeightedBitsLaw
