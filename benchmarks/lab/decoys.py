"""Decoys: the true key's rank among 10^5 others, on the answers of some innocents and of one student that was served.

The decoy test needs no formula, so it also checks the closed test's p-value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from benchmarks.lab import bases, campaigns, corpus, innocents, measures
from benchmarks.lab.family import Training, Transformer, train
from benchmarks.lab.runs import Result, Run
from verify.hypotheses.decoys import rank
from verify.scoring import summarize
from watermark.windows import TokenBatch

ESTIMATE: Final = 100
DECOYS: Final = 100_000
KEYS: Final = (0, 1, 3, 4)  # one of each scheme and two widths


def runs() -> Iterator[Run]:
    """One a student."""
    for key in KEYS:
        yield Run(f"innocent-{key:03}", {"key": key}, lambda key=key: _ranked(key, innocents.students(key)[0]))  # type: ignore[misc]
    yield Run("served-000", {"key": 0}, lambda: _ranked(0, _served()))


def _served() -> Transformer:
    """A student of which a quarter of the training rows was served under key 0."""
    rows = campaigns.load(innocents.plan(0)).rows()
    clean = corpus.rows(corpus.load().clean, rows.shape[1], 3 * len(rows), np.random.default_rng(7))
    return train(bases.load("nano"), np.concatenate([clean, rows]), Training(batch=16), seed=7)


def _ranked(key: int, student: Transformer) -> dict[str, Any]:
    campaign = campaigns.load(innocents.plan(key))
    own = measures.asked(student, campaign, seed=0)
    pairs = summarize(TokenBatch.from_documents(list(own)), campaign.plan.width).pairs
    found = rank(pairs, campaign.plan.epoch.value_key("fleet"), n=DECOYS)
    return {
        "scheme": campaign.plan.scheme,
        "width": campaign.plan.width,
        "rank": found.rank,
        "log10_p": round(found.log10_p, 4),
        "closed": measures.closed_test(own, campaign),
    }


def report(results: dict[str, Result]) -> Result:
    """As measured."""
    return dict(results)
