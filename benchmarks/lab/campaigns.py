"""Campaigns: what a teacher served under one key, and the twins it withheld.

`shipped`: both members of a pair are drawn under the same fixed-channel keys with leaf keys of their own, and a
recorded coin says which is served. `another key` and `unmarked` are the naive pairings, for the trap alone. With
`none`, nothing is withheld.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.lab import bases, corpus
from benchmarks.lab.generation import PROMPT, answers, epoch_key, samples
from watermark.deployment import Deployment
from watermark.keys import EpochKey
from watermark.sampling import Sampler
from watermark.windows import Ids

TEACHER: Final = "micro"
SHARES: Final = "fleet=0.75,leaf=0.25"


@dataclass(frozen=True)
class Plan:
    """One campaign.

    Attributes:
        seed: of its key, prompts and coins.
        pairs: answers served, each with a twin.
        length: tokens of an answer.
        scheme: spec string.
        width: h.
        shares: of the channels.
        pairing: see the module.
        prompts: how many there are to draw from; few, so that campaigns share some.
    """

    seed: int
    pairs: int = 100
    length: int = 48
    scheme: str = "gumbel"
    width: int = 1
    shares: str = SHARES
    pairing: str = "shipped"
    prompts: int = 2000

    @property
    def epoch(self) -> EpochKey:
        """Its key."""
        return epoch_key(self.seed, Deployment.parse(scheme=self.scheme, width=self.width, shares=self.shares))

    @property
    def name(self) -> str:
        """The name of its file."""
        parts = (self.scheme, f"h{self.width}", self.shares, self.pairing, self.pairs, self.length, self.prompts)
        return "-".join(map(str, (self.seed, *parts))).replace(" ", "_").replace(":", "_")


@dataclass(frozen=True)
class Campaign:
    """Token ids of a campaign.

    Attributes:
        plan: what it is.
        prompts: (n, `PROMPT`) ids.
        served: (n, length) ids, in serving order.
        twins: (n, length) ids; none if the pairing is `none`.
    """

    plan: Plan
    prompts: Ids
    served: Ids
    twins: Ids

    def rows(self, *, twins: bool = False) -> Ids:
        """Prompts with their answers: (n, `PROMPT` + length) ids."""
        return np.concatenate([self.prompts, self.twins if twins else self.served], axis=1)


def load(plan: Plan) -> Campaign:
    """The campaign, drawn if it is not there yet."""
    path = corpus.CACHE / "campaigns" / f"{plan.name}.npz"
    if not path.exists():
        made = _draw(plan)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, prompts=made.prompts, served=made.served, twins=made.twins)
        part.replace(path)
    with np.load(path) as parts:
        return Campaign(plan, *(parts[name] for name in ("prompts", "served", "twins")))


def pair(
    plan: Plan, generator: np.random.Generator, drawn: Callable[[EpochKey, str], Ids], unmarked: Callable[[], Ids]
) -> tuple[Ids, Ids]:
    """What is served and what is withheld, (n, length) ids each.

    Args:
        plan: the campaign.
        generator: of the coins.
        drawn: marked answers to all prompts under an epoch's key, with leaf keys of the named member.
        unmarked: unmarked answers.
    """
    first = drawn(plan.epoch, "a")
    if plan.pairing == "none":
        return first, first[:0]
    if plan.pairing == "unmarked":
        return first, unmarked()
    if plan.pairing == "another key":
        return first, drawn(epoch_key(plan.seed + 500_000, plan.epoch.deployment), "b")
    second, coin = drawn(plan.epoch, "b"), generator.integers(2, size=(len(first), 1))
    return np.where(coin, second, first), np.where(coin, first, second)


def _draw(plan: Plan) -> Campaign:
    generator = np.random.default_rng([plan.seed, 2])
    prompts = corpus.rows(corpus.load().prompts[: plan.prompts * PROMPT], PROMPT, plan.pairs, generator)
    teacher = bases.load(TEACHER)

    def drawn(epoch: EpochKey, member: str) -> Ids:
        requests = [f"{i}.{member}" for i in range(plan.pairs)]
        return answers(teacher, prompts, plan.length, sampler=Sampler(epoch), requests=requests)

    def unmarked() -> Ids:
        return samples(teacher, prompts, plan.length, seed=plan.seed)

    return Campaign(plan, prompts, *pair(plan, generator, drawn, unmarked))
