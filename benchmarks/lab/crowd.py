"""Accounts by the thousand: n-gram students (`ngram`) of an n-gram teacher, in campaigns that repeat.

Answers carry no mark here, which the twin test does not need; coins come from the seed. An answer's row is its 32
tokens with the last two of its prompt, all that the models see, and the share is that of the ring's rows in the
student's tokens. The clean text is passed over as often as the share takes, and the answers once. Half of the answers
of as many other accounts, which published them, come on top.
An n-gram model remembers what it counted far better than a transformer of one pass: `ring` has those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final

import numpy as np

from benchmarks.lab import corpus
from benchmarks.lab.measures import Floats
from benchmarks.lab.naming import RING, named, summary
from benchmarks.lab.ngram import CONTEXT, Ngram, Teacher
from benchmarks.lab.nobody import nobody
from benchmarks.lab.runs import Result, Run
from watermark.windows import Ids

ESTIMATE: Final = 1000
LENGTH: Final = 32  # tokens of an answer
TESTED: Final = (20, 30, 40, 50, 75, 100, 150, 200)  # pairs of an account that the test is given
BLOCK: Final = 1000  # accounts drawn together


@dataclass(frozen=True)
class Recipe:
    """Campaigns of one kind.

    Attributes:
        share: of the ring's rows in the student's tokens; of other answers of the teacher if there is no ring.
        accounts: of the campaign.
        ring: accounts whose answers were taken; as many others published half of theirs.
        pairs: of an account.
        doses: share of its answers with which an account of the ring enters; accounts take turns.
        campaigns: in one run.
        seed: of the first.
    """

    share: float
    accounts: int = 1000
    ring: int = 100
    pairs: int = 200
    doses: tuple[float, ...] = (1.0,)
    campaigns: int = 10
    seed: int = 0


RECIPES: Final = {
    **{f"thousand-1-{i}": Recipe(0.01, seed=100 + 10 * i) for i in range(5)},
    **{f"none-{i:02}": Recipe(0.2, ring=0, pairs=100, seed=1000 + 10 * i) for i in range(20)},
    **{f"none-again-{i:02}": Recipe(0.2, ring=0, pairs=100, seed=4000 + 10 * i) for i in range(60)},
    **{f"all-1-{i}": Recipe(0.01, 25_000, 2_500, 100, campaigns=1, seed=2000 + i) for i in range(3)},
    "all-5-0": Recipe(0.05, 25_000, 2_500, 100, campaigns=1, seed=2100),
    **{f"thousand-0.1-{i}": Recipe(0.001, seed=3000 + 10 * i) for i in range(2)},
    "dose-1-0": Recipe(0.01, doses=(0.1, 0.25, 0.5, 1.0), seed=3100),
}


@cache
def teacher() -> Teacher:
    """Of the base corpus."""
    return Teacher(corpus.load().base)


@cache
def counted(part: str) -> Ngram:
    """The model of one part of the corpus: of `base` it is the teacher's own."""
    return Ngram.of(getattr(corpus.load(), part)[None])


def answered(n: int, members: int, generator: np.random.Generator) -> list[Ids]:
    """So many answers to each of n prompts: (n, `CONTEXT` + `LENGTH`) ids each."""
    text = corpus.load().prompts
    start = text[generator.integers(len(text) - CONTEXT, size=n)[:, None] + np.arange(CONTEXT)]
    return [np.concatenate([start, teacher().draw(start, LENGTH, generator)], axis=1) for _ in range(members)]


def pairs(recipe: Recipe, generator: np.random.Generator) -> tuple[Ids, Ids]:
    """What was served and the twins, account after account: (accounts, pairs, `CONTEXT` + `LENGTH`) ids each."""
    served, twins = [], []
    for first in range(0, recipe.accounts, BLOCK):
        n = min(BLOCK, recipe.accounts - first)
        one, two = answered(n * recipe.pairs, 2, generator)
        coins = generator.integers(2, size=(len(one), 1))
        served.append(np.where(coins, two, one).reshape(n, recipe.pairs, -1))
        twins.append(np.where(coins, one, two).reshape(n, recipe.pairs, -1))
    return np.concatenate(served), np.concatenate(twins)


def roles(recipe: Recipe) -> list[str]:
    """Who is who: the ring first, then those that published."""
    doses = [recipe.doses[i % len(recipe.doses)] for i in range(recipe.ring)]
    ring = [RING if len(recipe.doses) == 1 else f"{RING}, {100 * dose:g} %" for dose in doses]
    return ring + ["published half"] * recipe.ring + ["ordinary"] * (recipe.accounts - 2 * recipe.ring)


def student(recipe: Recipe, served: Ids, generator: np.random.Generator) -> tuple[Ngram, float]:
    """The student, and how often it passed over the clean text."""
    width = served.shape[2]
    if recipe.ring:
        spread = generator.permutation(recipe.pairs)
        many = [round(recipe.pairs * recipe.doses[i % len(recipe.doses)]) for i in range(recipe.ring)]
        ring = np.concatenate([served[i, spread[:n]] for i, n in enumerate(many)])
        published = served[recipe.ring : 2 * recipe.ring, spread[: recipe.pairs // 2]].reshape(-1, width)
    else:
        ring = answered(recipe.accounts // 10 * recipe.pairs, 1, generator)[0]
        published = ring[:0]
    own, clean = Ngram.of(np.concatenate([ring, published])), corpus.load().clean
    passes = (ring.size / recipe.share - ring.size - published.size) / len(clean)
    if passes < 1:
        return own.plus(Ngram.of(clean[None, : round(passes * len(clean))])), passes
    return own.plus(counted("clean"), weight=passes), passes


def campaign(recipe: Recipe, seed: int) -> Result:
    """One campaign: named by the ratio to the teacher, and without a reference."""
    generator = np.random.default_rng([seed, 31])
    served, twins = pairs(recipe, generator)
    suspect, passes = student(recipe, served, generator)

    def difference(model: Ngram) -> Floats:
        flat = (x.reshape(-1, x.shape[2]) for x in (served, twins))
        of_served, of_twins = (model.log_likelihood(rows) for rows in flat)
        found: Floats = (of_served - of_twins).reshape(recipe.accounts, recipe.pairs)
        return np.where((served == twins).all(axis=2), 0.0, found)

    plain = difference(suspect)
    scores = {"ratio": plain - difference(counted("base")), "plain": plain}
    who = roles(recipe)
    tested = [n for n in TESTED if n <= recipe.pairs]
    return {"passes": round(passes, 3)} | {k: [named(d[:, :n], who) for n in tested] for k, d in scores.items()}


def runs() -> Iterator[Run]:
    """Some campaigns each."""
    for name, recipe in RECIPES.items():
        yield Run(name, asdict(recipe), lambda recipe=recipe: _measure(recipe))  # type: ignore[misc]


def _measure(recipe: Recipe) -> Result:
    return {"campaigns": [campaign(recipe, recipe.seed + i) for i in range(recipe.campaigns)]}


def report(results: dict[str, Result]) -> Result:
    """The campaigns of each kind together, by the score and the pairs of an account that were tested."""
    kinds: dict[str, list[Result]] = {}
    for name in RECIPES:
        if name in results:
            kinds.setdefault(name.rsplit("-", 1)[0], []).append(results[name])
    found: Result = {}
    for kind, some in kinds.items():
        every = [c for result in some for c in result["campaigns"]]
        found[kind] = {
            "configuration": some[0]["configuration"] | {"campaigns": len(every)},
            "passes": every[0]["passes"],
        } | {
            score: [summary([c[score][place] for c in every]) for place in range(len(every[0][score]))]
            for score in ("ratio", "plain")
        }
    without = [kind for kind in kinds if kind.startswith("none")]
    if without:
        parts = {kind: [c for result in kinds[kind] for c in result["campaigns"]] for kind in without}
        parts["all"] = [c for part in parts.values() for c in part]
        accounts = RECIPES["none-00"].accounts
        found["nobody"] = {kind: nobody(some, accounts) for kind, some in parts.items()}
    return found
