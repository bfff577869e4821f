"""The twin test's measurement: pairs, and what a suspect makes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from verify.inputs import open_documents
from verify.joining import meet
from verify.measured import MeasuredTwin
from verify.pairs import AnyPair, check_coins, read_likelihoods, read_pairs
from verify.redaction import read_twins
from verify.similarity import compare
from verify.twin_finding import Pairwise, measure
from watermark.keys import CoinKey

LIKELIHOODS = "likelihoods"


class Copies:
    """Which pairs of a file have the two members of one before them, prompt and all."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._ids: set[str] = set()

    def among(self, pairs: Iterable[AnyPair]) -> Iterator[AnyPair]:
        """The pairs, each as it comes: their own order decides which is the first, and not that of the scores."""
        for pair in pairs:
            first, second = sorted(pair.digests)
            members = bytes.fromhex(first[-16:] + second[-16:])  # 128 bits of both: no two by chance, and little memory
            if members in self._seen:
                self._ids.add(pair.id)
            self._seen.add(members)
            yield pair

    def tied(self, id_: str, difference: float | None) -> float | None:
        """The difference, 0 of a copy; one that nobody scored stays so."""
        return 0.0 if difference is not None and id_ in self._ids else difference


class Comparison:
    """The pairs of a file one by one, each with how much more the suspect makes of the served member.

    A pair whose two members stood in a pair before it is a tie: copies of one pair, under whatever ids, would count one
    preference many times. No coin decides which is left out.

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
            copies = Copies()
            for s in meet(copies.among(stated), read_likelihoods(self._likelihoods)):
                if s.likelihood is not None:
                    self.suspect, self.reference_model = s.likelihood.suspect, s.likelihood.reference_model
                yield Pairwise(copies.tied(s.id, s.difference), s.account, s.conversation, s.drawn, s.replayed)
        else:
            whole, copies = read_pairs(self._pairs), Copies()
            tossed = whole if self._coins is None else check_coins(whole, self._coins)
            for p, difference in compare(copies.among(tossed), open_documents(str(self._answers)), self._scores):
                yield Pairwise(copies.tied(p.id, difference), p.account, p.conversation, p.drawn, p.replayed)

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
