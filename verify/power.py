"""How much is needed: from a pilot or an assumed share to the number of pairs, answers or windows for a target p.

Symbols: alpha the target p, beta the chance to miss it, n what is to be collected, x the mean excess score per pair,
sigma the standard deviation of one score, r the win rate of twins, delta = z / sqrt(n) the signal of one window.

* Closed: the smallest n at which a mean of mu + x exceeds the exact threshold for alpha by the (1 - beta) quantile of
  the normal approximation, with the score's null variance.
* Twin: the smallest n at which Binomial(n, r) reaches the exact threshold for alpha with probability 1 - beta; exact.
* Open: delta sqrt(n) = z_alpha + z_beta, with z_alpha from the Gaussian Chernoff bound exp(-z^2 / 2) that the open
  test would print: an estimate.
* Where p is 1 / e (served windows, several pairs of a conversation) the e-value takes the place of the tail: closed and
  twin with the very mixture that the test prints; open with one of its components alone, exp(z^2 / 2) over their
  number, which is a little less than the mixture.

A need is an estimate of the future and never a p-value. Its interval carries the pilot's own interval through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log, log10, sqrt
from typing import Final

from scipy.special import ndtri

from verify.bisection import least
from verify.hypotheses import closed
from verify.hypotheses.sequential import log10_e_signs
from verify.linear import COMPONENTS
from verify.tails import binomial_log10_sf
from watermark.schemes.laws import ExponentialLaw, Law

MOST: Final = 1 << 36  # pairs; more than anybody could collect
_MOST_TWINS: Final = 1 << 24


@dataclass(frozen=True)
class Need:
    """How much is needed.

    Attributes:
        n: at the effect as estimated or assumed; None if no amount was found to be enough.
        low: at the upper end of the effect's interval.
        high: at its lower end; None if that end is no effect at all.
    """

    n: int | None
    low: int | None
    high: int | None

    @classmethod
    def over(cls, need: Callable[[float], int | None], effect: float, interval: tuple[float, float]) -> Need:
        """`need` at an effect and at both ends of its interval."""
        return cls(need(effect), need(interval[1]), need(interval[0]))


def closed_need(law: Law, excess: float, *, alpha: float, power: float, by_e: bool = False) -> int | None:
    """Distinct pairs for the closed test; None if the excess is not positive or `MOST` pairs are not enough.

    Args:
        law: of one score.
        excess: the mean above the law's.
        alpha: the target p.
        power: the chance to reach it.
        by_e: whether p is 1 / e.
    """
    if excess <= 0:
        return None
    z = float(ndtri(power))

    def reaches(n: int) -> bool:
        expected = n * (law.mean + excess) - z * sqrt(n * law.variance)
        total = int(expected * law.unit)
        if not isinstance(law, ExponentialLaw):
            total = min(total, n * law.unit)
        if by_e:
            return closed.log10_e(law, n, total) >= -log10(alpha)
        return total > 0 and float(closed.log10_p(law, n, total)) <= log10(alpha)

    return least(reaches, MOST)


def twin_need(rate: float, *, alpha: float, power: float, by_e: bool = False) -> int | None:
    """Pairs for the sign test, or with `by_e` for its e-value.

    None if the win rate is not above 1/2 or `2^24` pairs are not enough.
    """
    if not 0.5 < rate <= 1:
        return None

    def reaches(n: int) -> bool:
        wins = least_wins(n, alpha, by_e=by_e)
        if wins is None:
            return False
        return rate == 1 or float(binomial_log10_sf(n, rate, wins)) >= log10(power)

    return least(reaches, _MOST_TWINS)


def open_need(z: float, n: int, *, alpha: float, power: float, by_e: bool = False) -> int | None:
    """Windows for the open test, or with `by_e` for its e-value, from a pilot's z on n windows; an estimate.

    None if z is not positive or `MOST` windows are not enough.
    """
    if z <= 0:
        return None
    wanted = sqrt(2 * (log(COMPONENTS if by_e else 1) - log(alpha))) + float(ndtri(power))
    needed = n * (wanted / z) * (wanted / z)
    return ceil(needed) if needed <= MOST else None


def least_wins(n: int, alpha: float, *, by_e: bool = False) -> int | None:
    """The fewest wins among n pairs whose sign test, or with `by_e` 1 / e, reaches alpha; None if n wins do not."""

    def reaches(wins: int) -> bool:
        log10_p = -log10_e_signs(wins, n - wins) if by_e else binomial_log10_sf(n, 0.5, wins)
        return float(log10_p) <= log10(alpha)

    if not reaches(n) if by_e else n * log10(2) < -log10(alpha):
        return None
    low, high = n // 2, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return high


def smallest_rate(n: int, *, alpha: float, power: float) -> float | None:
    """The smallest win rate that n pairs would have found with probability `power`; None if none."""
    wins = least_wins(n, alpha)
    if wins is None:
        return None
    low, high = 0.5, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if float(binomial_log10_sf(n, middle, wins)) >= log10(power) else (middle, high)
    return high
