"""All of `verify.joining.meet` at once, for tests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from verify.joining import Scored, meet
from verify.pairs import Likelihood, Pair
from verify.redaction import RedactedPair


@dataclass(frozen=True)
class Joined:
    """Pairs with their likelihoods.

    Attributes:
        scored: pairs with a likelihood.
        missing: pairs without one: somebody left them out, and must say by which rule.
    """

    scored: tuple[Scored, ...]
    missing: tuple[Scored, ...]


def join(pairs: Iterable[Pair | RedactedPair], likelihoods: Iterable[Likelihood]) -> Joined:
    """All of `meet`."""
    everyone = list(meet(pairs, likelihoods))
    scored = tuple(s for s in everyone if s.likelihood is not None)
    return Joined(scored, tuple(s for s in everyone if s.likelihood is None))
