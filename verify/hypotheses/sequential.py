"""The sequential test: evidence that may be looked at after every answer, and the collection stopped when it is enough.

Symbols: t answers so far, S_t the sum of the scores of their n_t distinct pairs in natural units, mu the mean of one
score under H0, x the excess of one pair above mu, K(theta) = ln E exp(theta s), w wins and l losses.

H0 of `ClosedProcess`: the answers, and the order they come in, do not depend on the value key.
Each answer adds the pairs that no earlier answer had, so under H0 every score is new randomness, and
e_t = mixture over `closed.THETA_GRID` of exp(theta S_t - n_t K(theta)) is a nonnegative supermartingale that starts at
1, in whatever order the answers come as long as the order does not depend on scores.
By Ville's inequality P(e_t >= 1 / alpha for any t) <= alpha: p = 1 / max e_t is valid at any stopping time.

H0 of `log10_e_signs`: given the outcomes before it, each outcome is a win with probability at most 1/2.
(Ville 1939; Ramdas, Grunwald, Vovk and Shafer 2023, Statist. Sci. 38.)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf, isinf, log10, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincc, betaln, ndtri, roots_laguerre

from verify.bisection import least
from verify.distinct import Pairs, distinct
from verify.hypotheses import closed
from verify.known import Known
from verify.scoring import score
from watermark.keys import ValueKey
from watermark.schemes.laws import Law

LEVEL: Final = 0.95
MOST_PAIRS: Final = 1 << 60  # nobody collects more: beyond it there is no growth
SMALLEST_TAIL: Final = 1e-280  # of a beta law; below, quadrature is exact and the tail would underflow
_NODES, _WEIGHTS = roots_laguerre(32)


@dataclass(frozen=True)
class Remaining:
    """How many further answers are expected to be needed.

    Attributes:
        answers: if every further pair has the excess seen so far.
        interval: the same with the excess and `pairs_per_answer` both at the better and both at the worse ends of
            their 95 % intervals; the larger end may be infinite.
        pairs_per_answer: new pairs of an answer, the mean over the later half of the answers.
    """

    answers: int
    interval: tuple[int, float]
    pairs_per_answer: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields; an infinite end is null."""
        low, high = self.interval
        return vars(self) | {"interval": [low, None if isinf(high) else high]}


@dataclass(frozen=True)
class Evidence:
    """The e-process after some answers.

    Attributes:
        n_answers: answers, those without a new pair included.
        n_scored: distinct pairs scored.
        total: sum of integer scores.
        log10_e: of the e-value now.
        log10_e_max: of the largest e-value so far, at least that of the start, 0.
    """

    n_answers: int = 0
    n_scored: int = 0
    total: int = 0
    log10_e: float = 0.0
    log10_e_max: float = 0.0

    @property
    def log10_p(self) -> float:
        """log10 of 1 / max e: an upper bound of p that is valid whenever one stops."""
        return -self.log10_e_max

    def enough(self, alpha: float) -> bool:
        """Whether the stopping rule says stop: max e >= 1 / alpha."""
        return self.log10_e_max >= -log10(alpha)


class ClosedProcess:
    """The e-process of the closed test over answers as they come.

    Attributes:
        key: the value key.
        evidence: so far.
    """

    def __init__(self, key: ValueKey) -> None:
        self.key = key
        self._known = Known()
        self._counts: list[int] = []
        self._totals: list[int] = []
        self.evidence = Evidence()

    def add(self, pairs: Pairs) -> Evidence:
        """Score the pairs of one more answer that no answer before it had.

        Args:
            pairs: of one answer, as `verify.scoring.summarize` leaves them.
        """
        own = distinct(pairs)
        scored = score(own[self._known.new(own)], self.key)
        self._counts.append(scored.n)
        self._totals.append(scored.total)
        before = self.evidence
        n, total = before.n_scored + scored.n, before.total + scored.total
        log10_e = closed.log10_e(self.key.deployment.scheme.law, n, total)
        self.evidence = Evidence(before.n_answers + 1, n, total, log10_e, max(before.log10_e_max, log10_e))
        return self.evidence

    def remaining(self, alpha: float) -> Remaining | None:
        """See `remaining`."""
        if self.evidence.enough(alpha):
            return Remaining(0, (0, 0), _recent(np.array(self._counts))[0])
        return remaining(self.key.deployment.scheme.law, self._counts, self._totals, alpha)


def remaining(law: Law, counts: ArrayLike, totals: ArrayLike, alpha: float) -> Remaining | None:
    """How many more answers until e >= 1 / alpha, an estimate for planning and no part of the evidence.

    A further pair is taken to score mu + x, with x the mean excess seen; its standard error is over answers, whose
    pairs are alike, and no smaller than the null law allows.

    Args:
        law: of one score.
        counts: (t,) new pairs of each answer.
        totals: (t,) their integer scores.
        alpha: the threshold.

    Returns:
        None if no growth was seen: the 95 % interval of the excess reaches 0 or below, or fewer than two answers.
    """
    n, s = np.asarray(counts, dtype=np.float64), np.asarray(totals, dtype=np.float64) / law.unit
    pairs, answers = float(n.sum()), len(n)
    per_answer, spread = _recent(n)
    if answers < 2 or per_answer == 0:
        return None
    excess = float(s.sum()) / pairs - law.mean
    residuals = s - n * (law.mean + excess)
    error = sqrt(max(float((residuals**2).sum()) * answers / (answers - 1), law.variance * pairs)) / pairs
    normal = float(ndtri(0.5 + LEVEL / 2))
    half, less = normal * error, normal * spread
    if excess - half <= 0:
        return None
    total = sum(int(total) for total in np.asarray(totals))

    def answers_at(excess: float, per_answer: float) -> float:
        further = _further_pairs(law, int(pairs), total, excess, alpha) if per_answer > 0 else inf
        return further if isinf(further) else ceil(further / per_answer)

    expected, low = answers_at(excess, per_answer), answers_at(excess + half, per_answer + less)
    high = answers_at(excess - half, per_answer - less)
    return None if isinf(expected) else Remaining(int(expected), (int(low), high), per_answer)


def _further_pairs(law: Law, n: int, total: int, excess: float, alpha: float) -> float:
    """The least m with e >= 1 / alpha after m more pairs of this mean excess; infinite if e does not grow."""

    def reached(m: int) -> bool:
        return closed.log10_e(law, n + m, total + round(m * (law.mean + excess) * law.unit)) >= -log10(alpha)

    if reached(0):
        return 0
    # ln e is convex in m and below the threshold at 0: it crosses it once.
    further = least(reached, MOST_PAIRS)
    return inf if further is None else further


def _recent(counts: NDArray[Any]) -> tuple[float, float]:
    """Mean of the later half, for pairs repeat more and more, and its standard error."""
    later = counts[len(counts) // 2 :]
    if not len(later):
        return 0.0, 0.0
    return float(later.mean()), float(later.std(ddof=1)) / sqrt(len(later)) if len(later) > 1 else 0.0


def log10_e_signs(wins: ArrayLike, losses: ArrayLike) -> NDArray[np.float64]:
    """log10 of the e-value of w wins and l losses, of any shape, at most 10^7 or so each.

    Staking a share t of what one has on each win multiplies it by 1 + t or 1 - t, of mean at most 1 under H0; t is
    uniform on [0, 1], which is the likelihood ratio with win probabilities p = (1 + t) / 2 uniform above 1/2:

        e = integral_0^1 (1 + t)^w (1 - t)^l dt = 2^(n+1) B(w + 1, l + 1) P(Beta(w + 1, l + 1) > 1/2),   n = w + l.

    Where that probability would underflow (l far above w), t = u / (l - w) makes the integrand e^-u times a smooth
    function, and Gauss-Laguerre quadrature with 32 nodes is exact to rounding.
    Ties are left out before: a tie moves nothing.

    Raises:
        ValueError: a count that is negative or not finite.
    """
    w, l = np.broadcast_arrays(np.asarray(wins, dtype=np.float64), np.asarray(losses, dtype=np.float64))  # noqa: E741
    if not (np.isfinite(w).all() and np.isfinite(l).all() and (w >= 0).all() and (l >= 0).all()):
        raise ValueError("wins and losses are counts, expected finite numbers of at least 0")
    tail = betaincc(w + 1, l + 1, 0.5)
    small = tail < SMALLEST_TAIL
    log_e = (w + l + 1) * np.log(2) + betaln(w + 1, l + 1) + np.log(np.where(small, 1.0, tail))
    gap = np.where(small, l - w, 1e9)[..., None]  # elsewhere any value: the result is not used
    t = _NODES / gap
    exponent = w[..., None] * np.log1p(t) + l[..., None] * np.log1p(-t) + _NODES
    by_quadrature = np.log((_WEIGHTS * np.exp(np.where(small[..., None], exponent, 0.0))).sum(axis=-1)) - np.log(
        gap[..., 0]
    )
    result: NDArray[np.float64] = np.where(small, by_quadrature, log_e) / np.log(10)
    return result
