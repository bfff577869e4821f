"""Null laws of the marks that engines embed, as data: `verify.native.tails` evaluates them.

Symbols: n scored PRF inputs, S the sum of their scores.
H0: the text does not depend on the key, which was drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Exponentials:
    """Each score is at most a weighted sum of independent Exp(1) variables, one for each key of the mark.

    Attributes:
        weights: one or two, not negative; scores are in nats.
        mean_score: of one exponential as it is rounded down, slightly below 1.
    """

    weights: tuple[float, ...]
    mean_score: float

    @property
    def mean(self) -> float:
        """E of one score."""
        return self.mean_score * sum(self.weights)

    @property
    def variance(self) -> float:
        """Variance of one score."""
        return sum(w * w for w in self.weights)


@dataclass(frozen=True)
class GreenLists:
    """A score is 1 with probability at most p. Tokens of one window exclude each other: their list has a fixed size.

    Attributes:
        p: the share of green tokens, with what an uneven shuffle can add.
    """

    p: float

    @property
    def mean(self) -> float:
        """E of one score."""
        return self.p

    @property
    def variance(self) -> float:
        """Variance of one score."""
        return self.p * (1 - self.p)


@dataclass(frozen=True, eq=False)
class Shifts:
    """S is a sum over independent layers of `sums[k]`, with k uniform: the exact law for one given text.

    Attributes:
        sums: (N,) int64, the sum of one layer for each value its key can have.
        layers: m.
        n: pairs in the sum.
    """

    sums: NDArray[np.int64] = field(repr=False)
    layers: int
    n: int

    @property
    def mean(self) -> float:
        """E of one pair's mean over the layers."""
        return float(self.sums.mean()) / max(self.n, 1)

    @property
    def variance(self) -> float:
        """Variance of S / (m n), times n: that of one pair's mean, if the pairs were independent."""
        return float(self.sums.var()) / max(self.n, 1) / self.layers


Law = Exponentials | GreenLists | Shifts


@dataclass(frozen=True)
class Scored:
    """What one key makes of the inputs that its PRF can tell apart.

    Attributes:
        n: inputs scored.
        n_same_input: pairs left out because the PRF sees the same as for another pair.
        n_keyless: pairs left out because their score does not depend on the key.
        total: S in natural units: nats, green tokens, or ones.
        law: the null law of S.
    """

    n: int
    n_same_input: int
    n_keyless: int
    total: float
    law: Law
