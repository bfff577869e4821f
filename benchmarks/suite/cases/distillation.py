"""What the tests see in students: the lab's own results, which take hours to make (`make lab`, docs/lab.md)."""

from __future__ import annotations

import json
from typing import Any, Final

from benchmarks.suite.benchmark import Needs, NotRun, Profile
from benchmarks.suite.context import Context
from benchmarks.suite.results import COMMITTED

NAME = "distillation"
ABOUT = "what the tests see in models trained on marked answers: collects the lab's results"
NEEDS = Needs(minutes={"full": 0.1})

FILES: Final = ("smollm", "family", "choice")
RULES: Final = ("root", "difference", "soft", "top1")


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """The numbers that the report shows, as the lab has them."""
    found = {name: COMMITTED / f"lab-{name}.json" for name in FILES}
    absent = [str(file.name) for file in found.values() if not file.exists()]
    if absent:
        raise NotRun(f"{', '.join(absent)} are not there: make lab")
    smollm, family = (json.loads(found[name].read_text()) for name in FILES[:2])
    students = [
        {"student": name, "share": s["recipe"]["share"], "test": test, "rule": rule, **s[test][rule]}
        for name, s in smollm["students"].items()
        for test in s
        if test.startswith("open")
        for rule in RULES
    ]
    innocents = [{"test": test, **level} for test, levels in family["innocents"]["tests"].items() for level in levels]
    return {
        "from": [f"lab-{name}.json" for name in FILES[:2]],
        "seed": smollm["seed"],
        "students": students,
        "innocents": {"students": family["innocents"]["students"], "keys": family["innocents"]["keys"],
                      "rows": innocents},
    }  # fmt: skip
