"""The twin test's measurement: pairs, and what a suspect makes of them."""

from __future__ import annotations

from verify.inputs import open_documents
from verify.joining import join
from verify.measured import MeasuredTwin
from verify.pairs import check_coins, read_likelihoods, read_pairs
from verify.redaction import read_twins
from verify.similarity import compare
from verify.twin_finding import Pairwise, measure
from watermark.keys import CoinKey

LIKELIHOODS = "likelihoods"


def measure_twin(
    pairs: str, *, likelihoods: str | None, answers: str | None, scores: str, missing: str, coins: CoinKey | None
) -> MeasuredTwin:
    """Compare served answers with their twins.

    Args:
        pairs: file; redacted ones will do with `likelihoods`.
        likelihoods: what a probe wrote, or None.
        answers: the suspect's, or None.
        scores: `likelihoods`, or how likeness is measured.
        missing: `loss` or `drop`.
        coins: node to compute the coins from again, or None to take them as stated.

    Raises:
        InputError: malformed input.
        Refused: records that do not go together, or coins that are not the node's.
    """
    suspect = reference = None
    if likelihoods is not None:
        twins = read_twins(pairs)
        joined = join(twins if coins is None else check_coins(twins, coins), read_likelihoods(likelihoods))
        everyone = (*joined.scored, *joined.missing)
        scored = [Pairwise(s.difference, s.account, s.conversation, s.drawn, s.replayed) for s in everyone]
        first = joined.scored[0].likelihood if joined.scored else None
        suspect, reference = (first.suspect, first.reference_model) if first else (None, None)
        scored_by = f"log-likelihood ratio to {reference}" if reference else "log-likelihood per token"
    else:
        whole = read_pairs(pairs)
        stated = whole if coins is None else check_coins(whole, coins)
        compared = compare(stated, open_documents(str(answers)), scores)
        scored = [Pairwise(d, p.account, p.conversation, p.drawn, p.replayed) for p, d in compared]
        scored_by = f"likeness of the suspect's answers ({scores})"
    return measure(
        scored,
        missing=missing,
        scored_by=scored_by,
        coin_key=coins.id if coins else None,
        suspect=suspect,
        reference_model=reference,
    )
