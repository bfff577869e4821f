"""Two more closed tests on the innocents: counts as weights, and the base as control variate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from benchmarks.lab import bases, campaigns, innocents, measures, opened
from benchmarks.lab.family import Transformer
from benchmarks.lab.rates import rates
from benchmarks.lab.runs import Result, Run
from verify import linear
from verify.hypotheses.counted import Counted
from verify.scoring import summarize
from watermark.windows import TokenBatch

ESTIMATE: Final = 600


def runs() -> Iterator[Run]:
    """One a true key, on the students that `innocents` made."""
    for key in range(innocents.KEYS):
        yield Run(f"{key:03}", {"key": key}, lambda key=key: _measure(key))  # type: ignore[misc]


def _measure(key: int) -> Result:
    campaign, base = campaigns.load(innocents.plan(key)), bases.load(innocents.SIZE)
    value_key = campaign.plan.epoch.value_key("fleet")
    law = value_key.deployment.scheme.law

    def student(model: Transformer, seed: int) -> dict[str, Any]:
        own = measures.asked(model, campaign, seed=seed)
        counted = Counted(value_key)
        summary = summarize(TokenBatch.from_documents(list(own)), campaign.plan.width, take=counted.add)
        form = counted.scored(summary, tokenizer=None).form
        controlled = opened.control(base, campaign.prompts, own, value_key, k=innocents.CANDIDATES)
        return {"counts": round(linear.log10_p(law, form), 4), "control": controlled["log10_p"]}

    return {"students": [student(model, n) for n, model in enumerate(innocents.students(key))]}


def report(results: dict[str, Result]) -> Result:
    """Rejection rates."""
    found: Result = {"keys": len(results), "students": len(results) * innocents.STUDENTS, "tests": {}}
    for name, title in (("counts", "closed, counts"), ("control", "closed, base as control variate")):
        table = np.array([[student[name] for student in r["students"]] for r in results.values()])
        found["tests"][title] = [vars(r) for r in rates(table)]
    return found
