"""Closed and open tests against share, width, scheme and channel shares; which coefficient rule sees most.

One student holds several campaigns with keys of their own, each with the stated share of the training tokens, so that
one training answers for all deployments. Students of seed 0 choose the rule, those of seed 1 are reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from benchmarks.lab import bases, campaigns, corpus, measures, opened
from benchmarks.lab.campaigns import SHARES, Campaign, Plan
from benchmarks.lab.family import Training, Transformer, train
from benchmarks.lab.generation import PROMPT
from benchmarks.lab.runs import Result, Run
from verify.hypotheses.open import RULES, Rule
from verify.linear import Floats

ESTIMATE: Final = 900
CANDIDATES: Final = 256
ALL_PROMPTS: Final = 100_000
DEPLOYMENTS: Final = (
    *(("gumbel", width, SHARES) for width in (1, 2, 3)),
    *(("gumbel", width, "fleet=1") for width in (1, 2)),
    *((scheme, width, SHARES) for scheme in ("greenlist", "tournament") for width in (1, 2)),
)


@dataclass(frozen=True)
class Recipe:
    """How one student comes to be.

    Attributes:
        share: of each campaign in the training tokens.
        answers: served in each campaign.
        deployments: indices into `DEPLOYMENTS`.
        epochs: passes over all of it.
        seed: of everything; the first is for choosing.
    """

    share: float
    answers: int
    deployments: tuple[int, ...] = tuple(range(len(DEPLOYMENTS)))
    epochs: int = 1
    seed: int = 1


RECIPES: Final = {
    **{f"all-{i}": Recipe(1.0, 1000, (i,)) for i in (0, 1, 2)},
    "share-20": Recipe(0.2, 500, (0, 1, 2)),
    "share-5": Recipe(0.05, 500),
    "share-1": Recipe(0.01, 500),
    "share-1-tuning": Recipe(0.01, 500, seed=0),
    "share-0.2-tuning": Recipe(0.002, 100, seed=0),
    "share-0.2": Recipe(0.002, 100),
    "share-1-epochs-3": Recipe(0.01, 500, epochs=3),
}


def ratio(exponent: float) -> Rule:
    """q^exponent (ln p - ln q), which `fixed_point` clips to [-1, 1]."""

    def rule(log_p: opened.Logs, log_q: opened.Logs) -> Floats:
        q, p = log_q.astype(np.float64), log_p.astype(np.float64)
        found: Floats = np.exp(exponent * q) * (p - q)
        return found

    return rule


def powers(exponent: float) -> Rule:
    """p^exponent - q^exponent."""

    def rule(log_p: opened.Logs, log_q: opened.Logs) -> Floats:
        p, q = (np.exp(exponent * logs.astype(np.float64)) for logs in (log_p, log_q))
        found: Floats = p - q
        return found

    return rule


TRIED: Final[Mapping[str, Rule]] = MappingProxyType(
    dict(RULES)
    | {f"ratio, {x:g}": ratio(x) for x in (0.5, 0.75)}
    | {f"powers, {x:g}": powers(x) for x in (0.7, 0.5, 0.35, 0.25)}
)


def served(recipe: Recipe) -> list[Campaign]:
    """The campaigns in a student's corpus."""
    found = []
    for i in recipe.deployments:
        scheme, width, shares = DEPLOYMENTS[i]
        plan = Plan(
            seed=7000 + 100 * recipe.seed + i,
            pairs=recipe.answers,
            scheme=scheme,
            width=width,
            shares=shares,
            pairing="none",
            prompts=ALL_PROMPTS,
        )
        found.append(campaigns.load(plan))
    return found


def runs() -> Iterator[Run]:
    """One a student."""
    for name, recipe in RECIPES.items():
        yield Run(name, asdict(recipe), lambda name=name, recipe=recipe: _measure(name, recipe))  # type: ignore[misc]


def _measure(name: str, recipe: Recipe) -> Result:
    tested, base = served(recipe), bases.load("nano")
    answers = np.concatenate([c.rows() for c in tested])
    total = round(recipe.answers / recipe.share)
    generator = np.random.default_rng([recipe.seed, 6])
    clean = corpus.rows(corpus.load().clean, answers.shape[1], total - len(answers), generator)
    how = Training(batch=16, epochs=recipe.epochs)
    rows = np.concatenate([clean, answers])
    student = bases.kept(f"marks-{name}", "nano", lambda: train(base.copy(), rows, how, seed=recipe.seed))
    return {"campaigns": [_test(student, base, campaign) for campaign in tested]}


def _test(student: Transformer, base: Transformer, campaign: Campaign) -> dict[str, Any]:
    plan = campaign.plan
    key = plan.epoch.value_key("fleet")
    found: dict[str, Any] = {"scheme": plan.scheme, "width": plan.width, "shares": plan.shares}
    own = measures.asked(student, campaign, seed=1)
    found["closed"] = measures.closed_test(own, campaign)
    found["closed with base"] = opened.control(base, campaign.prompts, own, key, k=CANDIDATES)
    for kind, asked in (
        ("served", opened.places(campaign.rows(), PROMPT, plan.width)),
        ("public", opened.public(plan.width, plan.seed)),
    ):
        log_p, log_q = opened.predictions(student, asked), opened.predictions(base, asked)
        found[kind] = opened.measure(log_p, log_q, asked, key, k=CANDIDATES, rules=TRIED)
    return found


def report(results: dict[str, Result]) -> Result:
    """The runs, and the mean z of every rule over a student's deployments on served windows.

    `choice` has the tuning students, by which a rule is chosen; `fresh` has the others.
    """
    choice: Result = {}
    fresh: Result = {}
    for name, result in results.items():
        tested = [c["served"] for c in result["campaigns"]]
        means = {rule: round(float(np.mean([found[rule]["z"] for found in tested])), 3) for rule in tested[0]}
        (choice if name.endswith("-tuning") else fresh)[name] = means
    return {"choice": choice, "fresh": fresh, "runs": results}
