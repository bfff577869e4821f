"""The twin test's measurement: pairs, and what a suspect makes of them."""

from __future__ import annotations

from collections.abc import Iterator

from verify.inputs import open_documents
from verify.joining import meet
from verify.measured import MeasuredTwin
from verify.pairs import check_coins, read_likelihoods, read_pairs
from verify.redaction import read_twins
from verify.similarity import compare
from verify.twin_finding import Pairwise, measure
from watermark.keys import CoinKey

LIKELIHOODS = "likelihoods"


class Comparison:
    """The pairs of a file one by one, each with how much more the suspect makes of the served member.

    Args:
        pairs: file; redacted ones will do with `likelihoods`.
        likelihoods: what a probe wrote, or None.
        answers: the suspect's, or None.
        scores: `likelihoods`, or how likeness is measured.
        coins: node to compute the coins from again, or None to take them as stated.

    Attributes:
        suspect: as the records name it, once one was read.
        reference_model: likewise.
    """

    def __init__(
        self, pairs: str, *, likelihoods: str | None, answers: str | None, scores: str, coins: CoinKey | None
    ) -> None:
        self._pairs, self._likelihoods, self._answers = pairs, likelihoods, answers
        self._scores, self._coins = scores, coins
        self.suspect: str | None = None
        self.reference_model: str | None = None

    def __iter__(self) -> Iterator[Pairwise]:
        """Read the files.

        Raises:
            InputError: malformed input.
            Refused: records that do not go together, or coins that are not the node's.
        """
        if self._likelihoods is not None:
            twins = read_twins(self._pairs)
            stated = twins if self._coins is None else check_coins(twins, self._coins)
            for s in meet(stated, read_likelihoods(self._likelihoods)):
                if s.likelihood is not None:
                    self.suspect, self.reference_model = s.likelihood.suspect, s.likelihood.reference_model
                yield Pairwise(s.difference, s.account, s.conversation, s.drawn, s.replayed)
        else:
            whole = read_pairs(self._pairs)
            tossed = whole if self._coins is None else check_coins(whole, self._coins)
            for p, difference in compare(tossed, open_documents(str(self._answers)), self._scores):
                yield Pairwise(difference, p.account, p.conversation, p.drawn, p.replayed)

    @property
    def scored_by(self) -> str:
        """What a score is, in words; known once all was read."""
        if self._likelihoods is None:
            return f"likeness of the suspect's answers ({self._scores})"
        if self.reference_model is None:
            return "log-likelihood per token"
        return f"log-likelihood ratio to {self.reference_model}"


def measure_twin(
    pairs: str, *, likelihoods: str | None, answers: str | None, scores: str, missing: str, coins: CoinKey | None
) -> MeasuredTwin:
    """Compare served answers with their twins.

    Args:
        pairs: see `Comparison`, as are the next three and `coins`.
        likelihoods: see there.
        answers: see there.
        scores: see there.
        missing: `loss` or `drop`.
        coins: see there.
    """
    comparison = Comparison(pairs, likelihoods=likelihoods, answers=answers, scores=scores, coins=coins)
    scored = list(comparison)
    return measure(
        scored,
        missing=missing,
        scored_by=comparison.scored_by,
        coin_key=coins.id if coins else None,
        suspect=comparison.suspect,
        reference_model=comparison.reference_model,
    )
