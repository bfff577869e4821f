"""Accounts: 200 with 100 pairs each, of which a ring of 20 fed a student, and 20 published half of what they got.

One epoch key served all of them, with a channel of their own for each account, and tossed the coins. Prompts come from
a stock of 4,000, so most were asked through several accounts. The share is that of the ring's answers, prompts
included, in the training tokens; the published answers come on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Final

import numpy as np

from benchmarks.lab import bases, campaigns, corpus, edits, innocents, measures
from benchmarks.lab.campaigns import Campaign, Plan
from benchmarks.lab.family import Training, Transformer, log_likelihood, train
from benchmarks.lab.generation import PROMPT, answers
from benchmarks.lab.naming import RING, named, summary
from benchmarks.lab.runs import Result, Run
from watermark.sampling import Request, Sampler
from watermark.windows import Ids

ESTIMATE: Final = 2600
ACCOUNTS: Final = 200
RINGS: Final = 20
PUBLISHERS: Final = 20
PAIRS: Final = 100
TESTED: Final = (25, 50, 100)  # pairs of an account that the test is given
BLOCK: Final = 10  # accounts drawn together
SIZE: Final = "nano"
PLAN: Final = Plan(seed=9000, pairs=PAIRS, width=2, shares="fleet=0.5,account=0.25,leaf=0.25", prompts=4000)


@dataclass(frozen=True)
class Recipe:
    """How one student comes to be.

    Attributes:
        share: of the ring's answers in the training tokens, before the trainer drops any.
        edit: what the trainer does to the ring's answers: see `prepared`.
        doses: share of its answers with which an account of the ring enters; accounts take turns.
        epochs: passes over all of it.
        after: clean training afterwards, in multiples of the training.
        merged: so many accounts of one role are taken as one account with all their pairs.
        guilty: whether there is a ring; without, other answers of the same teacher take the place of its.
        seed: of who is who, and of the training.
    """

    share: float
    edit: str = "none"
    doses: tuple[float, ...] = (1.0,)
    epochs: int = 1
    after: float = 0.0
    merged: int = 1
    guilty: bool = True
    seed: int = 0


RECIPES: Final = {
    "share-20": Recipe(0.2),
    "none-20": Recipe(0.2, guilty=False),
    "dose-20": Recipe(0.2, doses=(0.1, 0.5, 1.0), seed=2),
    "share-5": Recipe(0.05),
    "epochs-3": Recipe(0.05, epochs=3),
    "edited": Recipe(0.05, edit="edited, 0.3"),
    "truncated": Recipe(0.05, edit="truncated"),
    "deduplicated": Recipe(0.05, edit="deduplicated"),
    "best": Recipe(0.05, edit="best half"),
    "after": Recipe(0.05, after=1.0),
    "merged-20": Recipe(0.2, merged=4),
    "share-1": Recipe(0.01),
    "share-20-again": Recipe(0.2, seed=1),
    "share-5-again": Recipe(0.05, seed=1),
}


@cache
def stock() -> Campaign:
    """What all accounts were served and the twins, account after account; drawn if it is not there yet."""
    parts = []
    for first in range(0, ACCOUNTS, BLOCK):
        path = corpus.CACHE / "campaigns" / f"ring-{PLAN.seed}-{first:03}.npz"
        if not path.exists():
            made = draw(range(first, first + BLOCK))
            part = path.with_suffix(".part.npz")
            np.savez(part, prompts=made.prompts, served=made.served, twins=made.twins)
            part.replace(path)
        with np.load(path) as saved:
            parts.append([saved[name] for name in ("prompts", "served", "twins")])
    return Campaign(PLAN, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def draw(accounts: range, pairs: int = PAIRS) -> Campaign:
    """Both members of every pair by the real sampler, and the coins of the epoch's own node."""
    epoch, teacher = PLAN.epoch, bases.load(campaigns.TEACHER)
    some = corpus.rows(corpus.load().prompts, PROMPT, PLAN.prompts, np.random.default_rng(PLAN.seed))
    chosen = [np.random.default_rng([PLAN.seed, a]).choice(PLAN.prompts, pairs, replace=False) for a in accounts]
    prompts = some[np.concatenate(chosen)]
    names = [(f"{a}-{i}", str(a)) for a in accounts for i in range(pairs)]
    both = [
        answers(teacher, prompts, PLAN.length, sampler=Sampler(epoch), requests=[Request(n + end, a) for n, a in names])
        for end in ("", "-twin")
    ]
    coins = np.array([epoch.coin(f"{n}-twin") for n, _ in names])[:, None]
    return Campaign(PLAN, prompts, np.where(coins, both[1], both[0]), np.where(coins, both[0], both[1]))


def roles(recipe: Recipe) -> list[str]:
    """Who is who, an account a line."""
    found = ["ordinary"] * ACCOUNTS
    order = np.random.default_rng([recipe.seed, 21]).permutation(ACCOUNTS).tolist()
    if recipe.guilty:
        for place, account in enumerate(order[:RINGS]):
            dose = recipe.doses[place % len(recipe.doses)]
            found[account] = RING if len(recipe.doses) == 1 else f"{RING}, {100 * dose:g} %"
        for account in order[RINGS : RINGS + PUBLISHERS]:
            found[account] = "published half"
    return found


def taken(recipe: Recipe) -> tuple[Ids, Ids]:
    """Rows of the ring, and of what others published, as the trainer gets them."""
    if not recipe.guilty:
        others = np.concatenate([campaigns.load(innocents.plan(k)).rows() for k in range(RINGS)])
        return others, others[:0]
    rows = stock().rows().reshape(ACCOUNTS, PAIRS, -1)
    order = np.random.default_rng([recipe.seed, 21]).permutation(ACCOUNTS)[: RINGS + PUBLISHERS]
    many = [round(PAIRS * recipe.doses[place % len(recipe.doses)]) for place in range(RINGS)]
    # An account's pairs come in an order that nothing depends on: each dose is spread over the pairs that are tested.
    spread = np.random.default_rng([recipe.seed, 22]).permutation(PAIRS)
    ring = np.concatenate([rows[a, spread[:n]] for a, n in zip(order[:RINGS], many, strict=True)])
    return ring, rows[order[RINGS:]][:, spread[: PAIRS // 2]].reshape(-1, rows.shape[2])


def prepared(rows: Ids, edit: str, generator: np.random.Generator) -> Ids:
    """What the trainer makes of the ring's rows: one answer a prompt, the half that the base likes best, or `edits`."""
    if edit == "deduplicated":
        return rows[np.unique(rows[:, :PROMPT], axis=0, return_index=True)[1]]
    if edit == "best half":
        return rows[np.argsort(-log_likelihood(bases.load(SIZE), rows, PROMPT))[: len(rows) // 2]]
    return rows if edit == "none" else edits.EDITS[edit](rows, generator)


@cache
def reference() -> measures.Floats:
    """What the base makes of all pairs."""
    return measures.preference(bases.load(SIZE), stock())


def runs() -> Iterator[Run]:
    """One a student."""
    for name, recipe in RECIPES.items():
        yield Run(name, asdict(recipe), lambda recipe=recipe: _measure(recipe))  # type: ignore[misc]


def training(recipe: Recipe) -> tuple[Ids, Ids, Ids, Ids]:
    """Rows of the student's text: clean, the ring's, the published, and the clean ones of afterwards."""
    ring, published = taken(recipe)
    total = round(RINGS * PAIRS / recipe.share)
    ring = prepared(ring, recipe.edit, np.random.default_rng([recipe.seed, 23]))
    n_clean, n_after = total - len(ring) - len(published), round(recipe.after * total)
    text = np.concatenate([corpus.load().clean, corpus.load().public])
    clean = corpus.rows(text, ring.shape[1], n_clean + n_after, np.random.default_rng([recipe.seed, 24]))
    return clean[:n_clean], ring, published, clean[n_clean:]


def trained(recipe: Recipe) -> Transformer:
    """The student."""
    *rows, after = training(recipe)
    student = train(bases.load(SIZE), np.concatenate(rows), Training(batch=16, epochs=recipe.epochs), seed=recipe.seed)
    return train(student, after, Training(batch=16), seed=recipe.seed) if len(after) else student


def alike(differences: measures.Floats, recipe: Recipe) -> tuple[measures.Floats, list[str]]:
    """Accounts with their roles, `merged` of one role taken as one: (m, n) differences, and m roles."""
    who = roles(recipe)
    order = np.argsort(who, kind="stable")  # no account is merged with one of another role
    return differences[order].reshape(-1, PAIRS * recipe.merged), [who[i] for i in order[:: recipe.merged]]


def _measure(recipe: Recipe) -> Result:
    clean, ring, published, _ = training(recipe)
    total = len(clean) + len(ring) + len(published)
    student = trained(recipe)
    found = (measures.preference(student, stock()) - reference()).reshape(ACCOUNTS, PAIRS)
    found, who = alike(found, recipe)
    return {
        "tokens": total * ring.shape[1],
        "share": round(len(ring) / total, 5),
        "share_published": round(len(published) / total, 5),
        "tests": [named(found[:, : n * recipe.merged], who) for n in TESTED],
    }


def report(results: dict[str, Result]) -> Result:
    """By student, in the order of the recipes: see `naming.summary`."""
    return {
        name: results[name]
        | {"configuration": asdict(RECIPES[name]), "tests": [summary([test]) for test in results[name]["tests"]]}
        for name in RECIPES
        if name in results
    }
