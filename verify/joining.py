"""Pairs and what a suspect makes of them, brought together in one pass.

Both files are followed side by side: in the same order nothing waits, in another what comes early waits for its
partner, in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from verify.errors import Refused, quoted
from verify.pairs import Likelihood, Pair

if TYPE_CHECKING:
    from verify.redaction import RedactedPair


@dataclass(frozen=True, slots=True)
class Scored:
    """A pair with a suspect's likelihoods if it has any, and without its texts.

    Attributes:
        id: of the pair.
        account: see `Pair`.
        conversation: see `Pair`.
        drawn: see `Pair`.
        served: see `Pair`.
        digests: see `Pair`.
        equal: see `Pair`.
        redacted: whether `equal` is only said.
        replayed: see `Pair`.
        likelihood: of the members, in the pair's order, or None.
    """

    id: str
    account: str | None
    conversation: str | None
    drawn: str
    served: int
    digests: tuple[str, str]
    equal: bool
    redacted: bool
    replayed: bool | None
    likelihood: Likelihood | None = None

    @classmethod
    def of(cls, pair: Pair | RedactedPair) -> Scored:
        """A pair without a likelihood."""
        names = ("id", "account", "conversation", "drawn", "served", "digests", "equal", "replayed")
        return cls(redacted=not isinstance(pair, Pair), **{name: getattr(pair, name) for name in names})

    def met(self, found: Likelihood) -> Scored:
        """The pair with its likelihood.

        Raises:
            Refused: one of other members, or a redacted pair that says its texts are equal, and the likelihoods are
                not: whoever wants to hide a loss could call it a tie.
        """
        if found.digests != self.digests:
            raise Refused(f"likelihood {quoted(found.id)} is of other texts than the pair of this id")
        if self.redacted and self.equal and not found.alike:
            raise Refused(
                f"likelihood {quoted(found.id)} has two different numbers, and the pair says that its texts are equal",
                hint="a redacted pair's word is not enough here: take the pairs with their texts",
            )
        return replace(self, likelihood=found)

    @property
    def difference(self) -> float | None:
        """Score of the served member less that of its twin, in nats.

        With a reference a member's score is its log-likelihood ratio; without, its log-likelihood per token: the plain
        one says mostly which member is shorter. Both treat the members alike. None without a likelihood.
        """
        if self.likelihood is None:
            return None
        if self.equal:
            return 0.0
        x, y, n = self.likelihood.log_likelihood, self.likelihood.reference, self.likelihood.tokens
        s, t = self.served, 1 - self.served
        if y is None:
            return x[s] / max(n[s], 1) - x[t] / max(n[t], 1)
        return (x[s] - y[s]) - (x[t] - y[t])


def meet(pairs: Iterable[Pair | RedactedPair], likelihoods: Iterable[Likelihood]) -> Iterator[Scored]:
    """Every pair once: those with a likelihood as soon as both are there, and the others at the end.

    Args:
        pairs: of different ids, as `verify.redaction.read_twins` gives them.
        likelihoods: of different ids.

    Raises:
        Refused: a likelihood without its pair, more than one suspect or reference, or see `Scored.met`.
    """
    waiting, early = dict[str, Scored](), dict[str, Likelihood]()
    stream = _of_one_suspect(likelihoods)

    def take() -> Iterator[Scored]:
        for found in stream:
            known = waiting.pop(found.id, None)
            if known is not None:
                yield known.met(found)
                return
            early[found.id] = found
            return

    for pair in pairs:
        scored, found = Scored.of(pair), early.pop(pair.id, None)
        if found is not None:
            yield scored.met(found)
            continue
        if scored.id in waiting:
            raise Refused(f"pair {quoted(scored.id)} is there twice, expected distinct ids")
        waiting[scored.id] = scored
        yield from take()
    for found in stream:
        known = waiting.pop(found.id, None)
        if known is None:
            early[found.id] = found
            break
        yield known.met(found)
    if early:
        lost = next(iter(early))
        raise Refused(f"likelihood {quoted(lost)} has no pair, or is there twice", hint="were these pairs probed?")
    yield from waiting.values()


def _of_one_suspect(likelihoods: Iterable[Likelihood]) -> Iterator[Likelihood]:
    models: tuple[str, str | None] | None = None
    for x in likelihoods:
        models = models or (x.suspect, x.reference_model)
        if models != (x.suspect, x.reference_model):
            raise Refused(
                f"likelihood {quoted(x.id)} is of suspect {quoted(x.suspect)} and reference "
                f"{quoted(x.reference_model)}, expected {quoted(models[0])} and {quoted(models[1])}",
                hint="test one suspect and one reference at a time",
            )
        yield x
