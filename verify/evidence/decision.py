"""What a plan decides from its results. Normative text: docs/spec/evidence.md, section 5.

A test of the family that is not at hand counts with p = 1 and e = 0, which are valid whatever it would have given: the
correction keeps what it promises, which holds for any valid p-values and e-values.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

import numpy as np

from verify.evidence.predicate import Decided, Decision
from verify.hypotheses.multiplicity import Floats, benjamini_hochberg, e_bh, holm
from verify.measured import rounded
from verify.planned import EXPLORATORY
from verify.plans import Plan


def decide(plan: Plan, derived: Sequence[dict[str, Any]]) -> Decision:
    """Correct for the family, and compare with alpha.

    Args:
        plan: with one key for each result.
        derived: of the results, in the order of the keys.
    """
    m, n = len(plan.family.tests), len(derived)
    p, e = np.zeros(m), np.full(m, -np.inf)
    p[:n], e[:n] = [d["log10_p"] for d in derived], [d["log10_e"] for d in derived]
    adjusted = _adjusted(plan.family.correction, p, e)[:n].tolist()
    numbers: list[float] = rounded(adjusted, "log10_adjusted")
    tests = tuple(
        Decided(name=name, found=number <= log10(plan.alpha), log10_adjusted=number)
        for name, number in zip(plan.own, numbers, strict=True)
    )
    return Decision(tests=tests, sentence=_sentence(plan, tests))


def _adjusted(correction: str, log10_p: Floats, log10_e: Floats) -> Floats:
    if correction == "e-bh":
        return e_bh(log10_e)
    if correction == "none":
        return log10_p
    return holm(log10_p) if correction == "holm" else benjamini_hochberg(log10_p)


def _sentence(plan: Plan, tests: Sequence[Decided]) -> str:
    found = [test.name for test in tests if test.found]
    rest = [test.name for test in tests if not test.found]
    parts = [f"{what}: {', '.join(names)}." for what, names in (("Found", found), ("Not found", rest)) if names]
    rule = EXPLORATORY if not plan.timestamps else f"Rule of the plan: {plan.decision}."
    return " ".join([*parts, rule])
