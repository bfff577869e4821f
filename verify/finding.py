"""The result of one test, complete enough to print, save and argue about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf, log10, sqrt
from typing import Any, Final

from scipy.special import ndtri

from verify.errors import Refused
from verify.hypotheses import closed
from verify.hypotheses.decoys import DecoyRank
from verify.measured import Decoys, MeasuredClosed
from verify.planned import plan_sentence
from verify.scoring import Score, Summary
from verify.tested import Tested
from watermark import __version__
from watermark.keys import ValueKey
from watermark.prf import PRF_ID
from watermark.schemes import Scheme
from watermark.schemes.laws import ExponentialLaw, Law

# Fewer pairs could not reach 10^-6 even if every one were marked, at one nat of excess each.
MIN_SCORED: Final = 32
INTERVAL_LEVEL: Final = 0.95
POWER: Final = 0.95

ASSUMPTIONS: Final = (
    "the text was chosen without looking at the key or at scores under it",
    "this is the one test of this key on this text; for several keys or texts, correct for all that were looked at",
    "AES-128 cannot be told from a random permutation: log10 p is the tail for an ideal function, and the true "
    "probability is at most that plus q^2 / 2^129 for q scored pairs, plus AES's distinguishing advantage",
)
SERVED_ASSUMPTION: Final = (
    "the served answers are as they were drawn, with their own token ids; which of them were taken was settled before "
    "the text was scored, and not by the key or by how an answer goes on"
)


IDS_ASSUMPTION: Final = "nobody who had the key chose how the text is split into token ids"


@dataclass(frozen=True)
class Finding:
    """One key tested on one corpus.

    Attributes:
        n_documents: responses read.
        n_empty: responses without a token, such as failed requests.
        n_seen: tokens read.
        n_dropped: tokens not scored, by reason; with `n_scored` they add up to `n_seen`.
        n_scored: distinct pairs scored.
        log10_p: of P(score at least this high) under H0, exact or an upper bound (`verify.hypotheses.closed`); of
            1 / e where only served windows were scored.
        log10_e: of the mixture e-value.
        excess: mean score per pair above its expectation under H0, in the scheme's natural unit.
        excess_interval: 95 % interval of it, normal approximation from the larger of sample and null variance.
        decoys: rank of the true key among decoys, if any were asked for.
        alpha: the threshold below which `found` is true.
        smallest_share: smallest marked share of what was scored found with probability 0.95 at `alpha`: its threshold,
            power by the normal approximation at the scheme's `full_excess`; above 1 if not even wholly marked text
            would have been; None if the strength was not measured for the scheme's parameters.
        scheme, width, key_id, channel, key_path, prf: what was tested.
        tokenizer: digest of the tokenizer, if one was given.
        options: every choice that can move the number: how the input was read, what was dropped, input digests.
        version: of radiolabel.
    """

    n_documents: int
    n_empty: int
    n_seen: int
    n_dropped: dict[str, int]
    n_scored: int
    log10_p: float
    log10_e: float
    excess: float
    excess_interval: tuple[float, float]
    decoys: DecoyRank | None
    alpha: float
    smallest_share: float | None
    scheme: str
    width: int
    key_id: str
    channel: str
    key_path: str
    prf: str
    tokenizer: str | None
    options: dict[str, Any]
    version: str

    @property
    def found(self) -> bool:
        """Whether p is at most alpha. Decided in log space: a p too small for a double is still small."""
        return self.log10_p <= log10(self.alpha)

    @property
    def log10_p_stated(self) -> float:
        """log10 p with what separates a cipher from a random function: what a sentence may claim.

        The ideal tail plus q^2 / 2^129 for q blocks, plus 2^-128 for the key itself; never smaller than the latter.
        """
        return log10_sum(self.log10_p, 2 * log10(self.n_scored) - 129 * log10(2), -128 * log10(2))

    @property
    def sentence(self) -> str:
        """What this means, in words: a statement about the text, never about guilt."""
        return self._answer + plan_sentence(self.options)

    @property
    def _answer(self) -> str:
        if self.found:
            return (
                f"The mark of key {self.key_path} was found. Text that does not depend on this key would score this "
                f"high with probability at most 10^{upper(self.log10_p_stated)} (threshold {self.alpha:g})."
            )
        if self.smallest_share is None:
            limit = ""
        elif self.smallest_share <= 1:
            limit = (
                f" A mark as strong as measured on a small model at temperature 0.7 would have been found 95 % of the "
                f"time in {percent(self.smallest_share)} or more of this text."
            )
        else:
            limit = " In so little text a mark as strong as measured at temperature 0.7 would usually be missed."
        return (
            f"The mark of key {self.key_path} was not found (p = {p_value(self.log10_p)}, threshold "
            f"{self.alpha:g}).{limit} Not found does not mean not there."
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the numbers rest on."""
        served = (SERVED_ASSUMPTION,) if "not_served" in self.n_dropped else ()
        return (*ASSUMPTIONS, *served, *((IDS_ASSUMPTION,) if self.options.get("token_ids") else ()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields."""
        record = {name: value for name, value in vars(self).items() if name != "decoys"}
        record["excess_interval"] = list(self.excess_interval)
        if self.smallest_share == inf:  # JSON has no infinity
            record["smallest_share"] = None
        record["decoys"] = self.decoys and {
            "n": self.decoys.n,
            "rank": self.decoys.rank,
            "log10_p": self.decoys.log10_p,
            "seed": self.decoys.seed,
            "histogram": list(self.decoys.histogram),
        }
        return record | {
            "found": self.found,
            "log10_p_stated": self.log10_p_stated,
            "sentence": self.sentence,
            "assumptions": list(self.assumptions),
        }


def find(
    summary: Summary,
    key: ValueKey,
    score: Score,
    *,
    alpha: float,
    decoys: DecoyRank | None,
    tokenizer: str | None,
    options: dict[str, Any],
    n_not_served: int | None = None,
) -> Finding:
    """Turn a key's score on a corpus into a Finding: `measure`, then `conclude`."""
    measured = measure(summary, score, decoys=decoys, n_not_served=n_not_served)
    return conclude(measured, Tested.of(key), alpha=alpha, tokenizer=tokenizer, options=options)


def measure(
    summary: Summary,
    score: Score,
    *,
    decoys: DecoyRank | None = None,
    n_not_served: int | None = None,
    accumulation: Iterable[tuple[int, int, int]] = (),
) -> MeasuredClosed:
    """What takes the text and the key.

    Args:
        summary: of the corpus.
        score: of the pairs that were scored.
        decoys: rank among decoys, if any.
        n_not_served: pairs left out because their window was never served, None if nothing was left out so.
        accumulation: (tokens looked up, distinct pairs scored, total) as the text goes on.
    """
    dropped = {
        "first_h": summary.n_first_h,
        "repeated_window": summary.n_repeated_window,
        "copied_from_prompt": summary.n_copied_from_prompt,
        "duplicate": summary.n_duplicate,
        "other_channel": score.n_other_channel,
    }
    return MeasuredClosed(
        n_documents=summary.n_documents,
        n_empty=summary.n_empty,
        n_seen=summary.n_seen,
        n_dropped=dropped | ({} if n_not_served is None else {"not_served": n_not_served}),
        n_scored=score.n,
        total=str(score.total),
        total_squares=str(score.total_squares),
        decoys=None if decoys is None else Decoys(**vars(decoys)),
        accumulation=tuple((tokens, n, str(total)) for tokens, n, total in accumulation),
    )


def conclude(
    measured: MeasuredClosed, key: Tested, *, alpha: float, tokenizer: str | None, options: dict[str, Any]
) -> Finding:
    """What follows from a measurement, by arithmetic alone.

    Which windows were served depends on the key: where only those were scored, only the e-value is valid, and
    `log10_p` is that of 1 / e.

    Args:
        measured: the sums.
        key: what was tested.
        alpha: the threshold.
        tokenizer: its digest, if one was given.
        options: every choice that can move the number.

    Raises:
        Refused: fewer than `MIN_SCORED` pairs.
    """
    n, total, squares = measured.n_scored, int(measured.total), int(measured.total_squares)
    if n < MIN_SCORED:
        raise Refused(
            f"only {n} of {measured.n_seen} tokens can be scored for channel {key.channel}, "
            f"and fewer than {MIN_SCORED} say nothing",
            hint="collect more answers; at width 2 and a whole share about 9 tokens in 10 are scorable",
        )
    law, served, d = key.scheme.law, "not_served" in measured.n_dropped, measured.decoys
    mean = total / law.unit / n
    # Few or equal scores look too certain: the null's own variance is the least that is believed.
    variance = max(squares / law.unit**2 / n - mean**2, law.variance)
    half = float(ndtri(0.5 + INTERVAL_LEVEL / 2)) * sqrt(variance / n)
    excess = mean - law.mean
    return Finding(
        n_documents=measured.n_documents,
        n_empty=measured.n_empty,
        n_seen=measured.n_seen,
        n_dropped=measured.n_dropped,
        n_scored=n,
        log10_p=_log10_p(law, n, total, served=served),
        log10_e=closed.log10_e(law, n, total),
        excess=excess,
        excess_interval=(excess - half, excess + half),
        decoys=None if d is None else DecoyRank(d.n, d.rank, d.seed, d.histogram),
        alpha=alpha,
        smallest_share=_smallest_share(key.scheme, n, alpha, served=served),
        scheme=key.scheme.spec,
        width=key.width,
        key_id=key.id,
        channel=key.channel,
        key_path=key.path,
        prf=PRF_ID,
        tokenizer=tokenizer,
        options=options,
        version=__version__,
    )


def _log10_p(law: Law, n: int, total: int, *, served: bool) -> float:
    return min(0.0, -closed.log10_e(law, n, total)) if served else float(closed.log10_p(law, n, total))


def _smallest_share(scheme: Scheme, n: int, alpha: float, *, served: bool) -> float | None:
    law = scheme.law
    if scheme.full_excess is None:
        return None
    # The smallest total that is found, by bisection of the tail that decides; 64 means or the largest score bound it.
    low, high = int(n * law.mean * law.unit), n * law.unit * (64 if isinstance(law, ExponentialLaw) else 1)
    if _log10_p(law, n, high, served=served) > log10(alpha):
        return inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log10_p(law, n, middle, served=served) <= log10(alpha) else (middle, high)
    needed = high / law.unit / n - law.mean + float(ndtri(POWER)) * sqrt(law.variance / n)
    return needed / scheme.full_excess


def log10_sum(*terms: float) -> float:
    """log10 of a sum, from log10 of its terms."""
    largest = max(terms)
    return largest + log10(sum(10 ** (term - largest) for term in terms))


def percent(share: float) -> str:
    """A share in percent, rounded up to a tenth."""
    return f"{ceil(1000 * share) / 10:g} %"


def upper(log10_p: float) -> str:
    """An exponent with one decimal, rounded up: never a smaller p than the true one."""
    return f"{ceil(log10_p * 10) / 10:.1f}"


def p_value(log10_p: float) -> str:
    """A p-value for a sentence, rounded up."""
    return f"{ceil(10 ** (log10_p + 6)) / 1e6:g}" if log10_p > -5 else f"10^{upper(log10_p)}"
