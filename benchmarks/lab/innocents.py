"""Innocents: a thousand students that never saw what was served, each tested under a true key.

100 true keys of several deployments, 10 students a key. A student is the nano base fine-tuned on clean text and on
answers of the same teacher to the same stock of prompts under four other keys. What is tested is what an accuser
would have: the campaign of the true key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch

from benchmarks.lab import bases, campaigns, corpus, measures, opened
from benchmarks.lab.campaigns import Plan
from benchmarks.lab.family import SIZES, Training, Transformer, train
from benchmarks.lab.generation import PROMPT
from benchmarks.lab.rates import rates
from benchmarks.lab.runs import Result, Run
from watermark.windows import Ids

ESTIMATE: Final = 1300
KEYS: Final = 100
STUDENTS: Final = 10
SIZE: Final = "nano"
CLEAN: Final = 128
OTHERS: Final = 4
EACH: Final = 32  # answers of each other key
HOW: Final = Training(rate=3e-3, batch=16)
CANDIDATES: Final = 32
# Widths and schemes in turn: every law and every width is in the count.
DEPLOYMENTS: Final = (
    *(("gumbel", 1), ("gumbel", 2), ("gumbel", 3), ("greenlist", 1), ("tournament", 2)),
    *(("gumbel", 2), ("gumbel", 1), ("greenlist", 2), ("gumbel", 3), ("tournament", 1)),
)


def plan(key: int) -> Plan:
    """The campaign of a true key."""
    scheme, width = DEPLOYMENTS[key % len(DEPLOYMENTS)]
    return Plan(seed=1000 + key, scheme=scheme, width=width)


def training_rows(key: int, student: int) -> Ids:
    """What one innocent is trained on."""
    generator = np.random.default_rng([key, student, 3])
    others = generator.choice([k for k in range(KEYS) if k != key], OTHERS, replace=False)
    answered = [generator.permutation(campaigns.load(plan(int(k))).rows())[:EACH] for k in others]
    length = answered[0].shape[1]
    return np.concatenate([corpus.rows(corpus.load().clean, length, CLEAN, generator), *answered])


def students(key: int) -> list[Transformer]:
    """The innocents of a key, trained if they are not there yet."""
    path = corpus.CACHE / "students" / f"innocents-{key:03}.pt"
    if not path.exists():
        base = bases.load(SIZE)
        made = [train(base.copy(), training_rows(key, s), HOW, seed=s).state_dict() for s in range(STUDENTS)]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(made, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    models = [Transformer(SIZES[SIZE]).eval() for _ in range(STUDENTS)]
    for model, state in zip(models, torch.load(path, weights_only=True), strict=True):
        model.load_state_dict(state)
    return models


def runs() -> Iterator[Run]:
    """One a true key."""
    for key in range(KEYS):
        configuration = {"key": key, "scheme": plan(key).scheme, "width": plan(key).width, "students": STUDENTS}
        yield Run(f"{key:03}", configuration, lambda key=key: _measure(key))  # type: ignore[misc]


def _measure(key: int) -> Result:
    campaign, base = campaigns.load(plan(key)), bases.load(SIZE)
    width = campaign.plan.width
    kinds = {"served": opened.places(campaign.rows(), PROMPT, width), "public": opened.public(width, key)}
    reference = measures.preference(base, campaign)
    predicted = {kind: opened.predictions(base, asked) for kind, asked in kinds.items()}
    value_key = campaign.plan.epoch.value_key("fleet")

    def student(model: Transformer, seed: int) -> dict[str, Any]:
        own = measures.asked(model, campaign, seed=seed)
        return {
            "twin": measures.twin(model, campaign, reference),
            "similarity": measures.similarity(own, campaign),
            "closed": measures.closed_test(own, campaign),
            "open": {
                kind: opened.measure(opened.predictions(model, asked), predicted[kind], asked, value_key, k=CANDIDATES)
                for kind, asked in kinds.items()
            },
        }

    return {"students": [student(model, n) for n, model in enumerate(students(key))]}


def report(results: dict[str, Result]) -> Result:
    """Rejection rates of every test."""
    measured = next(iter(results.values()))["students"][0]["open"]["public"]
    figures = {
        "twin with the base": ("twin", "base", "log10_p"),
        "twin with the base, ranks": ("twin", "base", "log10_p_ranks"),
        "twin without reference": ("twin", "none", "log10_p"),
        "twin without reference, ranks": ("twin", "none", "log10_p_ranks"),
        "text twin, n-grams": ("similarity", "ngram", "log10_p"),
        "text twin, subsequence": ("similarity", "subsequence", "log10_p"),
        "closed": ("closed", "log10_p"),
        "closed, e-value": ("closed", "log10_e"),
        **{f"open, public text, {rule}": ("open", "public", rule, "log10_p") for rule in measured},
        **{f"open, public text, {rule}, e-value": ("open", "public", rule, "log10_e") for rule in measured},
        **{f"open, served windows, {rule}, e-value": ("open", "served", rule, "log10_e") for rule in measured},
    }
    found: Result = {"keys": len(results), "students": len(results) * STUDENTS, "tests": {}}
    for name, path in figures.items():
        table = np.array([[_at(s, path) for s in r["students"]] for r in results.values()])
        found["tests"][name] = [vars(r) for r in rates(-table if path[-1] == "log10_e" else table)]
    return found


def _at(student: Any, path: tuple[str, ...]) -> float:
    for step in path:
        student = student[step]
    return float(student)
