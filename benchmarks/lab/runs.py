"""Runs: one seeded piece of work, one JSON file, never done twice.

An experiment is a module with `ESTIMATE` (seconds on one core), `runs()` (its runs, in order) and `report(results)`
(what goes into the page, from the results that are there).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.lab import corpus

Result = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One piece of work.

    Attributes:
        id: of the file, within its experiment.
        configuration: all that the result depends on.
        work: makes the result.
    """

    id: str
    configuration: Result
    work: Callable[[], Result]


def done(experiment: str) -> dict[str, Result]:
    """All results of an experiment so far, by run id."""
    folder = corpus.CACHE / "runs" / experiment
    return {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))}


def perform(experiment: str, runs: Iterable[Run], say: Callable[[str], None]) -> None:
    """Do the runs that are not done yet; the result of each is on disk before the next begins."""
    folder = corpus.CACHE / "runs" / experiment
    folder.mkdir(parents=True, exist_ok=True)
    waiting = [run for run in runs if not (folder / f"{run.id}.json").exists()]
    started = time.monotonic()
    for number, run in enumerate(waiting, 1):
        before = time.monotonic()
        result = {"configuration": run.configuration} | run.work()
        now = time.monotonic()
        part = folder / f"{run.id}.part"
        part.write_text(json.dumps(result | {"seconds": round(now - before, 1)}) + "\n")
        part.replace(folder / f"{run.id}.json")
        left = (now - started) / number * (len(waiting) - number)
        say(f"{experiment} {run.id}: {number} of {len(waiting)}, {now - before:.0f} s, about {left / 60:.1f} min left")


OUTPUT: Final = "benchmarks/results/lab-family.json"
