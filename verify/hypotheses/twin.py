"""The twin test: does the suspect prefer the answers that were served to those that were not?

Symbols: n pairs, d_i = score of the served member less score of its twin, w wins (d > 0), l losses (d < 0).

A pair is two answers that the sampler could equally have given to one prompt: the same fixed-channel keys, leaf keys
of their own. A coin that is recorded and is no function of the answers says which one was served.

H0: the suspect does not depend on the coins. Given both members of all pairs, the keys and the suspect, each coin is
fair and independent of the others, so each sign of d_i is fair, whatever the suspect is and however alike the answers
are: w is Binomial(w + l, 1/2), exactly. Ties (d = 0) say nothing and are left out, a rule that treats both members
alike.
Signed ranks: given all |d_i|, the signs are fair and independent, so the sum of the ranks of the wins is a sum of
fair bits times ranks, exactly (Wilcoxon 1945, Biometrics Bulletin 1; mean ranks where |d| are equal). Only where a
conversation has one pair: a later turn's prompt holds the answer that was served before, so that its |d| depends on
an earlier coin. The sign of a later turn is still fair given everything before it, but whether that turn is a tie may
depend on earlier coins, so that w + l is no fixed number: it is a stopping rule, and only 1 / e is valid there.
Precedent: STAMP (arXiv 2504.13416), sign and permutation tests on rephrased twins.

**What is not a twin.** With another fixed-channel key, or none, all served answers share the forced choices of one
key and the twins do not: the signs of an innocent suspect agree with each other and the test is void.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verify.hypotheses.sequential import log10_e_signs
from verify.signed import signed_sum_log10_sf
from verify.tails import binomial_log10_sf


@dataclass(frozen=True)
class Signs:
    """Counts of one set of pairs.

    Attributes:
        wins: pairs in which the served member scores higher.
        losses: pairs in which its twin does.
        ties: pairs in which both score the same.
    """

    wins: int
    losses: int
    ties: int

    @classmethod
    def of(cls, differences: NDArray[np.float64]) -> Signs:
        """Count the signs of (n,) differences.

        Raises:
            ValueError: a difference that is not finite.
        """
        if not np.isfinite(differences).all():
            raise ValueError("a difference is not finite")
        positive, negative = int((differences > 0).sum()), int((differences < 0).sum())
        return cls(positive, negative, len(differences) - positive - negative)

    @property
    def log10_p(self) -> float:
        """log10 P(Binomial(wins + losses, 1/2) >= wins): the sign test, exact."""
        return float(binomial_log10_sf(self.wins + self.losses, 0.5, self.wins))

    @property
    def log10_p_stopped(self) -> float:
        """log10 of 1 / e, at most 0: valid where earlier coins may decide whether a later pair is a tie."""
        return min(0.0, -self.log10_e)

    @property
    def log10_e(self) -> float:
        """log10 of the mixture e-value over win rates above 1/2; valid at any stopping time."""
        return float(log10_e_signs(self.wins, self.losses))


def signed_rank_log10_p(differences: NDArray[np.float64]) -> float:
    """log10 p of the signed ranks of (n,) differences: exact up to 1,000 pairs, Chernoff's bound beyond."""
    d = differences[differences != 0]
    if not np.isfinite(d).all():
        raise ValueError("a difference is not finite")
    if not d.size:
        return 0.0
    _, inverse, counts = np.unique(np.abs(d), return_inverse=True, return_counts=True)
    # Twice the mean rank of equal sizes, a whole number.
    ends = np.cumsum(counts)
    ranks = (2 * ends - counts + 1)[inverse]
    return signed_sum_log10_sf(ranks, int(ranks[d > 0].sum()))


def by_group(differences: NDArray[np.float64], groups: Iterable[str]) -> dict[str, Signs]:
    """The signs of each group, such as an account, in the order in which groups first come."""
    of: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        of.setdefault(group, []).append(index)
    return {group: Signs.of(differences[rows]) for group, rows in of.items()}
