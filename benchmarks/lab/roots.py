"""The rule `root` on the innocents: it was chosen on tuning students after they had been measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.lab import bases, campaigns, innocents, opened
from benchmarks.lab.generation import PROMPT
from benchmarks.lab.rates import rates
from benchmarks.lab.runs import Result, Run
from verify.hypotheses.open import RULES

ESTIMATE: Final = 500
RULE: Final = "root"


def runs() -> Iterator[Run]:
    """One a true key, on the students that `innocents` made."""
    for key in range(innocents.KEYS):
        yield Run(f"{key:03}", {"key": key, "rule": RULE}, lambda key=key: _measure(key))  # type: ignore[misc]


def _measure(key: int) -> Result:
    campaign, base = campaigns.load(innocents.plan(key)), bases.load(innocents.SIZE)
    width, value_key = campaign.plan.width, campaign.plan.epoch.value_key("fleet")
    found: Result = {}
    for kind, asked in (
        ("served", opened.places(campaign.rows(), PROMPT, width)),
        ("public", opened.public(width, key)),
    ):
        log_q = opened.predictions(base, asked)
        found[kind] = [
            opened.measure(
                opened.predictions(student, asked),
                log_q,
                asked,
                value_key,
                k=innocents.CANDIDATES,
                rules={RULE: RULES[RULE]},
            )[RULE]
            for student in innocents.students(key)
        ]
    return found


def report(results: dict[str, Result]) -> Result:
    """Rejection rates."""
    found: Result = {"keys": len(results), "students": len(results) * innocents.STUDENTS, "tests": {}}
    for kind, figure in (("public", "log10_p"), ("public", "log10_e"), ("served", "log10_e")):
        table = np.array([[student[figure] for student in r[kind]] for r in results.values()])
        name = f"open, {kind}, {RULE}" + (", e-value" if figure == "log10_e" else "")
        found["tests"][name] = [vars(r) for r in rates(-table if figure == "log10_e" else table)]
    return found
