"""The closed test: text alone.

Symbols: n distinct scored pairs, S the sum of their scores in natural units, K(theta) = ln E exp(theta s).

H0: the text does not depend on the value key, and both keys were fixed before anybody looked at the text.
The pairs are distinct, so under H0 their scores are independent with the scheme's law over the random key, whatever
the text is. The p-value is P(S >= observed), exact for the tournament, an upper bound for Gumbel (scores rounded
down) and the green list (threshold rounded down), up to AES's distance from a random function (`watermark.prf`).

The e-value is a mixture of exp(theta S - n K(theta)) over a grid fixed here: E[e] <= 1 under H0.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verify.tails import binomial_log10_sf, gamma_log10_sf, weighted_binomial_log10_sf
from watermark.schemes.laws import BernoulliLaw, ExponentialLaw, Law

# theta times the score's standard deviation: two a factor of 2, from a strong mark down to what 10^10 pairs can show.
THETA_GRID: Final = 2.0 ** np.arange(1.0, -17.0, -0.5)


def log10_p(law: Law, n: int, totals: ArrayLike) -> NDArray[np.float64]:
    """log10 P(sum of n scores >= total), for integer totals of any shape."""
    totals = np.asarray(totals)
    if isinstance(law, ExponentialLaw):
        return gamma_log10_sf(n, totals / law.unit)
    if isinstance(law, BernoulliLaw):
        return binomial_log10_sf(n, law.p, totals)
    return weighted_binomial_log10_sf(n, law.weights, totals)


def log10_e(law: Law, n: int, total: int) -> float:
    """log10 of the mixture e-value."""
    # Evidence can state a total beyond 64 bits, of which numpy would make objects.
    return float(log10_e_values(law, n, np.array([total], dtype=np.float64))[0])


def log10_e_values(law: Law, n: int, totals: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """log10 of the mixture e-value of each of (m,) integer totals."""
    theta = THETA_GRID / np.sqrt(law.variance)
    log_mgf = law.log_mgf(theta)
    with np.errstate(invalid="ignore"):
        exponents = theta * (totals[:, None] / law.unit) - n * log_mgf
    exponents = np.where(np.isinf(log_mgf), -np.inf, exponents)
    found: NDArray[np.float64] = (np.logaddexp.reduce(exponents, axis=1) - np.log(len(theta))) / np.log(10.0)
    return found
