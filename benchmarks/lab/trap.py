"""The twin trap: the naive pairings accuse innocents, the shipped one does not.

Students that never saw what was served (of `innocents`), tested with campaigns of four kinds, 50 pairs each.
With one fixed key at h = 1 and no leaf channel, served answers share that key's forced choices and a twin under
another key or none does not have them: an innocent's signs agree with each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from benchmarks.lab import bases, campaigns, innocents, measures
from benchmarks.lab.campaigns import SHARES, Plan
from benchmarks.lab.rates import rates
from benchmarks.lab.runs import Result, Run

ESTIMATE: Final = 300
KEYS: Final = 40
STUDENTS: Final = 4
KINDS: Final = {
    "another key": ("fleet=1", "another key"),
    "unmarked": ("fleet=1", "unmarked"),
    "same keys, no leaf channel": ("fleet=1", "shipped"),
    "same keys, a quarter leaf": (SHARES, "shipped"),
}


def runs() -> Iterator[Run]:
    """One a key."""
    for key in range(KEYS):
        yield Run(f"{key:03}", {"key": key}, lambda key=key: _measure(key))  # type: ignore[misc]


def _measure(key: int) -> Result:
    students, base = innocents.students(key)[:STUDENTS], bases.load(innocents.SIZE)
    found: Result = {}
    for kind, (shares, pairing) in KINDS.items():
        plan = Plan(seed=3000 + key, pairs=50, width=1, shares=shares, pairing=pairing)
        campaign = campaigns.load(plan)
        reference = measures.preference(base, campaign)
        found[kind] = [measures.twin(student, campaign, reference) for student in students]
    return found


def report(results: dict[str, Result]) -> Result:
    """Rejection rates of the twin test by kind of pairing."""
    found: Result = {}
    for kind in KINDS:
        for reference in ("base", "none"):
            table = np.array([[s[reference]["log10_p"] for s in r[kind]] for r in results.values()])
            found[f"{kind}, reference {reference}"] = [vars(r) for r in rates(table)]
    return found
