"""The result of one test under an engine's own mark."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log10, sqrt
from typing import Any, Final

from scipy.special import bdtrc, ndtri

from verify.errors import Refused
from verify.finding import INTERVAL_LEVEL, MIN_SCORED, p_value, upper
from verify.hypotheses.decoys import DecoyRank
from verify.native import validity
from verify.native.pairs import Corpus
from verify.native.tails import log10_p
from watermark import __version__
from watermark.native import AnyMark
from watermark.native.laws import Scored, Shifts

CONTRADICTION: Final = 1e-2
UNITS: Final = {"Exponentials": "nats", "GreenLists": "green tokens", "Shifts": "ones per layer"}


@dataclass(frozen=True)
class NativeFinding:
    """One engine's key tested on one corpus.

    Attributes:
        n_documents: responses read.
        n_empty: responses without a token.
        n_seen: tokens read.
        n_dropped: tokens not scored, by reason; with `n_scored` they add up to `n_seen`.
        n_scored: inputs scored: distinct pairs that the engine's function can tell apart.
        log10_p: of P(score at least this high) if the function were ideal: exact, or an upper bound for green lists.
        log10_p_stated: what may be claimed: see `verify.native.validity`. It decides, unless decoys contradict it.
        excess: mean score above its expectation under H0, in `unit`.
        excess_interval: 95 % interval of it, normal approximation from the null variance.
        unit: of `excess`.
        decoys: rank of the true key among decoys, if any were asked for.
        alpha: the threshold below which `found` is true.
        scheme, engine, width, parameters, prf: what was tested. The key has no public id here: of a short key a
            digest gives it away.
        tokenizer: digest of the tokenizer, if one was given.
        assumptions: what the numbers rest on.
        warnings: what the engine's function cannot carry.
        options: every choice that can move the number.
        version: of radiolabel.
    """

    n_documents: int
    n_empty: int
    n_seen: int
    n_dropped: dict[str, int]
    n_scored: int
    log10_p: float
    log10_p_stated: float
    excess: float
    excess_interval: tuple[float, float]
    unit: str
    decoys: DecoyRank | None
    alpha: float
    scheme: str
    engine: str
    width: int
    parameters: dict[str, Any]
    prf: str
    tokenizer: str | None
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    options: dict[str, Any]
    version: str

    @property
    def found(self) -> bool:
        """Whether the stated p is at most alpha, and the decoys do not contradict it."""
        return self.log10_p_stated <= log10(self.alpha) and not self.contradicted

    @property
    def contradicted(self) -> bool:
        """Whether more decoys score as high as the key than the stated p allows, at a level of `CONTRADICTION`."""
        if self.decoys is None or self.decoys.rank == 1:
            return False
        return bool(bdtrc(self.decoys.rank - 2, self.decoys.n, 10**self.log10_p_stated) < CONTRADICTION)

    @property
    def sentence(self) -> str:
        """What this means, in words: a statement about the text, never about guilt."""
        mark = f"The {self.scheme} mark of this key"
        if self.found:
            return (
                f"{mark} was found. Text that does not depend on the key would score this high with probability at "
                f"most 10^{upper(self.log10_p_stated)} (threshold {self.alpha:g})."
            )
        if self.log10_p_stated <= log10(self.alpha) and self.decoys:
            return (
                f"{mark} was not found: of {self.decoys.n:,} random keys {self.decoys.rank - 1:,} score as high. Not "
                "found does not mean not there."
            )
        return (
            f"{mark} was not found (p = {p_value(self.log10_p_stated)}, threshold {self.alpha:g}). Not found does not "
            "mean not there."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields."""
        record = dict(vars(self))
        record["decoys"] = self.decoys and {
            "n": self.decoys.n,
            "rank": self.decoys.rank,
            "log10_p": self.decoys.log10_p,
            "seed": self.decoys.seed,
            "histogram": list(self.decoys.histogram),
        }
        for name in ("excess_interval", "assumptions", "warnings"):
            record[name] = list(record[name])
        return record | {"found": self.found, "sentence": self.sentence}


def conclude(
    corpus: Corpus,
    mark: AnyMark,
    scored: Scored,
    *,
    alpha: float,
    decoys: DecoyRank | None = None,
    tokenizer: str | None = None,
    options: dict[str, Any] | None = None,
) -> NativeFinding:
    """Turn a score into a Finding.

    Raises:
        Refused: fewer than `MIN_SCORED` inputs, or a threshold that no text could reach under this function.
    """
    check_alpha(mark, alpha)
    if scored.n < MIN_SCORED:
        raise Refused(
            f"only {scored.n} of {corpus.n_seen} tokens can be scored, and fewer than {MIN_SCORED} say nothing",
            hint="collect more answers",
        )
    per_input = scored.total / scored.n / (scored.law.layers if isinstance(scored.law, Shifts) else 1)
    excess = per_input - scored.law.mean
    ideal = log10_p(scored.law, scored.n, scored.total)
    half = float(ndtri(0.5 + INTERVAL_LEVEL / 2)) * sqrt(scored.law.variance / scored.n)
    found = NativeFinding(
        n_documents=corpus.n_documents,
        n_empty=corpus.n_empty,
        n_seen=corpus.n_seen,
        n_dropped=corpus.n_dropped | {"same_input": scored.n_same_input, "keyless": scored.n_keyless},
        n_scored=scored.n,
        log10_p=ideal,
        log10_p_stated=validity.log10_stated(mark, scored.n, ideal),
        excess=excess,
        excess_interval=(excess - half, excess + half),
        unit=UNITS[type(scored.law).__name__],
        decoys=decoys,
        alpha=alpha,
        scheme=mark.name,
        engine=mark.engine,
        width=mark.width,
        parameters=mark.parameters,
        prf=mark.prf,
        tokenizer=tokenizer,
        assumptions=validity.assumptions(mark, scored),
        warnings=validity.warnings(mark, scored),
        options=options or {},
        version=__version__,
    )
    return found if decoys is None else replace(found, warnings=(*found.warnings, *_ranked_low(found, decoys)))


def check_alpha(mark: AnyMark, alpha: float) -> None:
    """Refuse a threshold below what the mark can carry.

    Raises:
        Refused: no text could reach it.
    """
    if log10(alpha) < validity.log10_cap(mark):
        raise Refused(
            f"alpha {alpha:g} is below 2^-{validity.key_bits(mark)}, and no text can show more under {mark.name}",
            hint="its function keeps no more of the key; choose a larger alpha before looking",
        )


def _ranked_low(found: NativeFinding, decoys: DecoyRank) -> tuple[str, ...]:
    """A warning if the rank, which needs no good function, does not bear the formula out."""
    if found.contradicted:
        return (
            f"{decoys.rank - 1:,} of {decoys.n:,} random keys score at least as high: this function does not carry the "
            "p-value on this text, and the rank is what counts",
        )
    return ()
