"""The twin test against share, size, epochs, learning rate, length and clean training afterwards.

What is served comes from the campaigns of `innocents` (100 pairs each): a student's corpus holds the served answers of
some campaigns among clean text, and each of those campaigns is tested by itself.
The share is that of one campaign's answers, prompts included, in the training tokens; `accounts` campaigns have it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, Final

import numpy as np
from scipy.special import betaincinv

from benchmarks.lab import bases, campaigns, corpus, innocents, measures
from benchmarks.lab.campaigns import Campaign, Plan
from benchmarks.lab.family import Training, Transformer, train
from benchmarks.lab.runs import Result, Run
from verify.power import twin_need

ESTIMATE: Final = 1500
PAIRS: Final = 100


@dataclass(frozen=True)
class Recipe:
    """How one student comes to be.

    Attributes:
        share: of one campaign in the training tokens.
        accounts: campaigns with that share.
        size: of the student.
        epochs: passes over all of it.
        rate: highest learning rate.
        length: tokens of an answer.
        after: clean training afterwards, in multiples of the training; the student is tested after each.
        seed: of everything.
    """

    share: float
    accounts: int = 1
    size: str = "nano"
    epochs: int = 1
    rate: float = 1e-3
    length: int = 48
    after: tuple[float, ...] = ()
    seed: int = 0


_ONE: Final = Recipe(0.01)
RECIPES: Final = {
    "all": Recipe(0.01, accounts=100),
    "share-20": Recipe(0.01, accounts=20),
    "share-5": Recipe(0.01, accounts=5),
    **{f"share-1-{seed}": replace(_ONE, seed=seed) for seed in range(5)},
    "share-0.2": Recipe(0.002, seed=5),
    "share-0.1": Recipe(0.001, seed=6),
    "rate-low": replace(_ONE, rate=3e-4),
    "rate-high": replace(_ONE, rate=3e-3),
    "epochs-3": replace(_ONE, epochs=3),
    "short": replace(_ONE, length=16),
    "long": replace(_ONE, length=96),
    "after": replace(_ONE, after=(0.25, 1.0, 3.0)),
    "accounts-0.1": Recipe(0.001, accounts=5, seed=7),
    "micro": replace(_ONE, size="micro"),
    "accounts-0.1-again": Recipe(0.001, accounts=5, seed=8),
    "micro-0.1": Recipe(0.001, accounts=5, size="micro", seed=7),
    "epochs-3-0.2": Recipe(0.002, epochs=3, seed=5),
}


def served(recipe: Recipe) -> list[Campaign]:
    """The campaigns in a student's corpus."""
    if recipe.length == innocents.plan(0).length:
        return [campaigns.load(innocents.plan((7 * recipe.seed + i) % innocents.KEYS)) for i in range(recipe.accounts)]
    return [campaigns.load(Plan(seed=6000 + i, length=recipe.length, width=2)) for i in range(recipe.accounts)]


@cache
def reference(size: str) -> Transformer:
    """What an accuser can train: the base on public text."""
    text = corpus.rows(corpus.load().public, 64, 10_000, np.random.default_rng(9))
    return bases.kept(f"reference-{size}", size, lambda: train(bases.load(size), text, Training(), seed=9))


def runs() -> Iterator[Run]:
    """One a student."""
    for name, recipe in RECIPES.items():
        yield Run(name, asdict(recipe), lambda name=name, recipe=recipe: _measure(name, recipe))  # type: ignore[misc]


def _measure(name: str, recipe: Recipe) -> Result:
    tested = served(recipe)
    answers = np.concatenate([c.rows() for c in tested])
    total = round(PAIRS / recipe.share)
    generator = np.random.default_rng([recipe.seed, 4])
    after = [round(x * total) for x in recipe.after]
    clean = corpus.rows(corpus.load().clean, answers.shape[1], total - len(answers) + sum(after), generator)
    first, *later = np.split(clean, np.cumsum([total - len(answers), *after])[:-1])
    how = Training(rate=recipe.rate, batch=16, epochs=recipe.epochs)
    rows = np.concatenate([first, answers])
    student = bases.kept(
        f"shares-{name}", recipe.size, lambda: train(bases.load(recipe.size), rows, how, seed=recipe.seed)
    )
    found = [test(student, tested, recipe)]
    for more in later:
        found.append(test(train(student, more, replace(how, epochs=1), seed=recipe.seed), tested, recipe))
    return {"tests": found[0], "after": found[1:]}


def test(student: Transformer, tested: list[Campaign], recipe: Recipe) -> list[dict[str, Any]]:
    """Differences of each campaign under the student, its base and the accuser's own student."""
    models = {"student": student, "base": bases.load(recipe.size), "own": reference(recipe.size)}
    return [{k: [round(x, 3) for x in measures.preference(m, c)] for k, m in models.items()} for c in tested]


def fitted(student: measures.Floats, *references: measures.Floats) -> measures.Floats:
    """What references leave of the student's differences, by least squares without intercept.

    Swapping the members of a pair changes the sign of its row and nothing else of the fit: the coefficients do not
    know the coins, so the signs of the rest stay fair under the null.
    """
    x = np.stack(references, axis=1)
    return student - x @ np.linalg.lstsq(x, student, rcond=None)[0]


def report(results: dict[str, Result]) -> Result:
    """Wins and p by recipe, each campaign by itself; the win rate of all with a 95 % interval over pairs.

    `pairs_needed` is for p = 1e-6 of the sign test in one of two cases, at that win rate.
    """
    found: Result = {}
    for name, result in results.items():
        stages = {"at the end": result["tests"]} | {
            f"after {x:g} times clean": t
            for x, t in zip(np.cumsum(result["configuration"]["after"]), result["after"], strict=True)
        }
        found[name] = {"configuration": result["configuration"]} | {k: _summary(t) for k, t in stages.items()}
    return found


def _summary(tests: list[dict[str, Any]]) -> Result:
    found: Result = {}
    for rule in ("none", "base", "own", "fitted"):
        signs = [measures.signs(_apply(rule, *(np.array(t[k]) for k in ("student", "base", "own")))) for t in tests]
        wins, n = sum(s["wins"] for s in signs), sum(s["wins"] + s["losses"] for s in signs)
        low, high = (float(x) for x in betaincinv([wins, wins + 1], [n - wins + 1, n - wins], [0.025, 0.975]))
        found[rule] = {
            "wins": [s["wins"] for s in signs],
            "log10_p": [s["log10_p"] for s in signs],
            "log10_p_ranks": [s["log10_p_ranks"] for s in signs],
            "win_rate": round(wins / n, 4),
            "win_rate_interval": [round(low, 4), round(high, 4)],
            "pairs_needed": twin_need(wins / n, alpha=1e-6, power=0.5),
        }
    return found


def _apply(rule: str, student: measures.Floats, base: measures.Floats, own: measures.Floats) -> measures.Floats:
    if rule == "fitted":
        return fitted(student, base, own)
    return student - {"none": 0 * base, "base": base, "own": own}[rule]
