"""The result of the twin test, overall and per account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from math import floor, log10, sqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from verify.errors import Refused
from verify.finding import INTERVAL_LEVEL, POWER, log10_sum, p_value, upper
from verify.hypotheses.multiplicity import e_bh, holm
from verify.hypotheses.twin import Signs, by_group, signed_rank_log10_p
from verify.measured import AccountSigns, MeasuredTwin, checkpoints
from verify.planned import plan_sentence
from verify.power import smallest_rate
from watermark import __version__

STATISTICS: Final = ("sign", "rank")

ASSUMPTIONS: Final = {
    "serving": "the suspect's maker saw neither coins nor twins",
    "later": "the teacher that drew the twins later is the one that served, in weights, numerics and settings; no "
    "served answer was left out for what it says or how long it is, or stands in two pairs; and the suspect's maker "
    "never saw the twins",
    "both": "pairs were chosen, and any left out, without looking at which member was served or scored higher",
    "conversation": "a pair that names no conversation is the only one of its conversation",
    "one": "this is the one test of this suspect on these pairs; for several, correct for all that were looked at",
}
STATED: Final = "the coins are as the provider's key gives them"
FIXED: Final = "that key and the pairs' ids were settled before anybody looked at a suspect"
REPLAY: Final = "served answers that the teacher drew again under their own keys came out alike"


@dataclass(frozen=True, slots=True)
class Pairwise:
    """What the twin test needs to know of one pair.

    Attributes:
        difference: score of the served member less that of its twin; 0 is a tie, None if nobody scored it.
        account: to whom it was served, or None.
        conversation: pairs of one conversation share it, or None.
        drawn: `serving` or `later`.
        replayed: whether the served answer came out token for token when it was drawn again; None if it was not.
    """

    difference: float | None
    account: str | None
    conversation: str | None
    drawn: str
    replayed: bool | None = None


@dataclass(frozen=True)
class AccountResult:
    """One account's pairs.

    Attributes:
        account: its name.
        signs: wins, losses, ties.
        log10_p: of the sign test; of 1 / e where a conversation has more than one pair.
        log10_p_holm: adjusted for all accounts tested: compare it with a family-wise level.
        log10_e: of the e-value.
        log10_e_bh: the smallest false discovery rate at which e-BH names the account.
    """

    account: str
    signs: Signs
    log10_p: float
    log10_p_holm: float
    log10_e: float
    log10_e_bh: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields."""
        return {"account": self.account} | vars(self.signs) | {k: v for k, v in vars(self).items() if k[:3] == "log"}


@dataclass(frozen=True)
class TwinFinding:
    """One suspect tested on one set of pairs.

    Attributes:
        n_pairs: pairs, those without a score included.
        n_missing: pairs without a score; `missing` says what was made of them.
        missing: `loss`, which can only weaken the finding, or `drop`.
        signs: wins, losses (missing ones included if they count), ties.
        statistic: `sign` or `rank`, chosen before looking: what `log10_p` is of.
        log10_p: of the chosen statistic under H0 (`verify.hypotheses.twin`).
        log10_p_sign: of the sign test; of 1 / e where a conversation has more than one pair.
        log10_p_rank: of signed ranks; None where a conversation has more than one pair.
        log10_e: of the sign test's e-value.
        win_rate: wins among untied pairs.
        win_interval: 95 % Wilson interval of it.
        smallest_rate: smallest win rate that these pairs would have shown at alpha with probability 0.95; None if none,
            or where a conversation has more than one pair.
        alpha: the threshold below which `found` is true.
        scored_by: what a score is, such as "log-likelihood ratio to base".
        drawn: when the twins were drawn: `serving`, `later` or `both`.
        n_drawn_again: pairs whose served answer was drawn again.
        n_replayed: those of them in which it came out token for token.
        coin_key: id of the node that the coins were computed from again, or None if they are taken as stated.
        accounts: results per account, if pairs name accounts.
        options: every choice that can move the number, and input digests.
        version: of radiolabel.
    """

    n_pairs: int
    n_missing: int
    missing: str
    signs: Signs
    statistic: str
    log10_p: float
    log10_p_sign: float
    log10_p_rank: float | None
    log10_e: float
    win_rate: float
    win_interval: tuple[float, float]
    smallest_rate: float | None
    alpha: float
    scored_by: str
    drawn: str
    n_drawn_again: int
    n_replayed: int
    coin_key: str | None
    accounts: tuple[AccountResult, ...]
    options: dict[str, Any]
    version: str

    @property
    def found(self) -> bool:
        """Whether p is at most alpha, in log space."""
        return self.log10_p <= log10(self.alpha)

    @property
    def log10_p_stated(self) -> float:
        """log10 p plus 2^-128 for the key that the coins come from: what a sentence may claim."""
        return log10_sum(self.log10_p, -128 * log10(2))

    @property
    def assumptions(self) -> list[str]:
        """What must hold."""
        drawn = ("serving", "later") if self.drawn == "both" else (self.drawn,)
        found = [ASSUMPTIONS[name] for name in (*drawn, "both", "conversation", "one")]
        if self.n_drawn_again:
            found.insert(len(drawn), f"{REPLAY}: {self.replay}")
        if self.coin_key is None:
            return [STATED, *found] if "serving" in drawn else found
        return [f"coins recomputed from node {self.coin_key} are as the pairs state them; {FIXED}", *found]

    @property
    def replay(self) -> str:
        """How many served answers came out token for token; the share is rounded down."""
        share = floor(1000 * self.n_replayed / self.n_drawn_again) / 10
        return f"{self.n_replayed:,} of {self.n_drawn_again:,} token for token ({share:g} %)"

    @property
    def sentence(self) -> str:
        """What this means, in words: a statement about the suspect's preferences, never about guilt."""
        return self._answer + plan_sentence(self.options)

    @property
    def _answer(self) -> str:
        n = self.signs.wins + self.signs.losses
        counted = f"{self.signs.wins:,} of {n:,} served answers scored above their twins"
        if self.found:
            return (
                f"The suspect prefers what was served: {counted}. A model that does not depend on which was served "
                f"would do so with probability at most 10^{upper(self.log10_p_stated)} (threshold {self.alpha:g})."
            )
        limit = ""
        if self.smallest_rate is not None:
            limit = f" A win rate of {self.smallest_rate:.3f} or more would have been found 95 % of the time."
        return (
            f"No preference for what was served was found: {counted} (p = {p_value(self.log10_p)}, threshold "
            f"{self.alpha:g}).{limit} Not found does not mean not there."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields."""
        record = {name: value for name, value in vars(self).items() if name not in ("signs", "accounts")}
        record |= vars(self.signs)
        record["win_interval"] = list(self.win_interval)
        record["accounts"] = [a.to_dict() for a in self.accounts]
        return record | {
            "found": self.found,
            "log10_p_stated": self.log10_p_stated,
            "sentence": self.sentence,
            "assumptions": self.assumptions,
        }


def find(
    pairs: Sequence[Pairwise],
    *,
    missing: str,
    statistic: str,
    alpha: float,
    scored_by: str,
    options: dict[str, Any],
    coin_key: str | None = None,
) -> TwinFinding:
    """Turn scored pairs into a finding: `measure`, then `conclude`."""
    measured = measure(pairs, missing=missing, scored_by=scored_by, coin_key=coin_key)
    return conclude(measured, missing=missing, statistic=statistic, alpha=alpha, options=options)


def measure(
    pairs: Sequence[Pairwise],
    *,
    missing: str,
    scored_by: str,
    coin_key: str | None = None,
    suspect: str | None = None,
    reference_model: str | None = None,
) -> MeasuredTwin:
    """What takes the pairs and their scores.

    Args:
        pairs: all pairs, those without a score included.
        missing: what is made of the latter: `loss` counts the missing as losses, `drop` leaves them out.
        scored_by: see `TwinFinding`.
        coin_key: see `TwinFinding`.
        suspect: as the records name it.
        reference_model: likewise.
    """
    n_pairs = len(pairs)
    n_missing = sum(pair.difference is None for pair in pairs)
    replayed = [pair.replayed for pair in pairs if pair.replayed is not None]
    drawn = {pair.drawn for pair in pairs}
    if missing == "drop":
        pairs = [pair for pair in pairs if pair.difference is not None]
    d = np.array([np.nan if pair.difference is None else pair.difference for pair in pairs], dtype=np.float64)
    # A loss of unknown size is taken as the largest of all: the worst it could have been.
    unknown = np.isnan(d)
    d[unknown] = -2 * np.abs(d[~unknown]).max(initial=1.0)
    signs = Signs.of(d)
    named = [pair.conversation for pair in pairs if pair.conversation is not None]
    alone = len(set(named)) == len(named)
    rows = [i for i, pair in enumerate(pairs) if pair.account is not None]
    groups = by_group(d[rows], [str(pairs[i].account) for i in rows])
    return MeasuredTwin(
        n_pairs=n_pairs,
        n_missing=n_missing,
        **vars(signs),
        alone=alone,
        log10_p_rank=signed_rank_log10_p(d) if alone else None,
        drawn=drawn.pop() if len(drawn) == 1 else "both",  # type: ignore[arg-type]  # readers refuse other words
        n_drawn_again=len(replayed),
        n_replayed=sum(replayed),
        scored_by=scored_by,
        suspect=suspect,
        reference_model=reference_model,
        coin_key=coin_key,
        accounts=tuple(AccountSigns(account=name, **vars(signs)) for name, signs in groups.items()),
        accumulation=_accumulation(d),
    )


def conclude(
    measured: MeasuredTwin, *, missing: str, statistic: str, alpha: float, options: dict[str, Any]
) -> TwinFinding:
    """What follows from a measurement, by arithmetic alone.

    Args:
        measured: the counts.
        missing: what was made of pairs without a score.
        statistic: `sign` or `rank`.
        alpha: the threshold.
        options: see `TwinFinding`.

    Raises:
        Refused: so few untied pairs that even wins alone could not reach alpha, or ranks where they are not valid.
    """
    signs, alone = Signs(measured.wins, measured.losses, measured.ties), measured.alone
    untied = signs.wins + signs.losses
    if untied * log10(2) < -log10(alpha):
        raise Refused(
            f"only {untied} of {measured.n_pairs} pairs can be compared, and even wins in all of them could not "
            f"reach alpha = {alpha:g}",
            hint=f"probe at least {int(np.ceil(-np.log2(alpha)))} pairs that differ",
        )
    if statistic == "rank" and not alone:
        raise Refused(
            "a conversation has more than one pair, and ranks are not valid there",
            hint="use --statistic sign, or one pair a conversation",
        )
    rank = measured.log10_p_rank
    log10_p_sign = signs.log10_p if alone else signs.log10_p_stopped
    return TwinFinding(
        n_pairs=measured.n_pairs,
        n_missing=measured.n_missing,
        missing=missing,
        signs=signs,
        statistic=statistic,
        log10_p=rank if statistic == "rank" and rank is not None else log10_p_sign,
        log10_p_sign=log10_p_sign,
        log10_p_rank=rank,
        log10_e=signs.log10_e,
        win_rate=signs.wins / untied,
        win_interval=wilson(signs.wins, untied),
        smallest_rate=smallest_rate(untied, alpha=alpha, power=POWER) if alone else None,
        alpha=alpha,
        scored_by=measured.scored_by,
        drawn=measured.drawn,
        n_drawn_again=measured.n_drawn_again,
        n_replayed=measured.n_replayed,
        coin_key=measured.coin_key,
        accounts=_accounts(measured),
        options=options,
        version=__version__,
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22)."""
    if n == 0:
        return (0.0, 1.0)
    z, rate = float(ndtri(0.5 + INTERVAL_LEVEL / 2)), successes / n
    middle = rate + z * z / (2 * n)
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return (max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale))


def _accounts(measured: MeasuredTwin) -> tuple[AccountResult, ...]:
    groups = {a.account: Signs(a.wins, a.losses, a.ties) for a in measured.accounts}
    p = np.array([signs.log10_p if measured.alone else signs.log10_p_stopped for signs in groups.values()])
    e = np.array([signs.log10_e for signs in groups.values()])
    adjusted = zip(groups.items(), p, holm(p), e, e_bh(e), strict=True)
    return tuple(AccountResult(name, signs, *map(float, values)) for (name, signs), *values in adjusted)


def _accumulation(d: NDArray[np.float64]) -> tuple[tuple[int, int, int], ...]:
    ends = [*takewhile(lambda n: n < len(d), checkpoints(8)), len(d)]
    wins, losses = np.cumsum(d > 0), np.cumsum(d < 0)
    return tuple((n, int(wins[n - 1]), int(losses[n - 1])) for n in ends if n)
