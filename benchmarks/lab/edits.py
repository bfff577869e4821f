"""The twin test when served answers were edited or cut before training.

Five accounts of 100 pairs at 1 % of the training tokens each, as `shares/share-5` has them unedited. The pairs that are
tested are the answers as they were served: the trainer keeps what he did to himself.

* `truncated`: the second half of every answer is other text.
* `edited, x`: a share x of an answer's tokens, at places of its own, is drawn anew by the base, given what was served
  before: other words that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch

from benchmarks.lab import bases, corpus, shares
from benchmarks.lab.family import Training, train
from benchmarks.lab.generation import PROMPT
from benchmarks.lab.runs import Result, Run
from watermark.windows import Ids

ESTIMATE: Final = 240
RECIPE: Final = shares.RECIPES["share-5"]
EDITED: Final = (0.15, 0.3, 0.6)

Edit = Callable[[Ids, np.random.Generator], Ids]


def truncated(rows: Ids, generator: np.random.Generator) -> Ids:
    """Rows (n, `PROMPT` + length) whose second half of the answer is clean text."""
    half = (rows.shape[1] - PROMPT) // 2
    cut = rows.copy()
    cut[:, -half:] = corpus.rows(corpus.load().clean, half, len(rows), generator)
    return cut


def edited(share: float) -> Edit:
    """An edit that draws a share of the answers' tokens anew."""

    def edit(rows: Ids, generator: np.random.Generator) -> Ids:
        changed, base = rows.copy(), bases.load(RECIPE.size)
        for some in np.array_split(np.arange(len(rows)), max(len(rows) // 64, 1)):
            with torch.inference_mode():
                logits = base(torch.from_numpy(rows[some, :-1].astype(np.int64)), start=PROMPT - 1)
            below = logits.double().softmax(dim=2).cumsum(dim=2).numpy()
            drawn = (below < generator.random(below.shape[:2])[..., None] * below[..., -1:]).sum(axis=2)
            chosen = generator.random(drawn.shape) < share
            changed[some, PROMPT:] = np.where(chosen, drawn, rows[some, PROMPT:])
        return changed

    return edit


EDITS: Final[dict[str, Edit]] = {"truncated": truncated} | {f"edited, {x:g}": edited(x) for x in EDITED}


def runs() -> Iterator[Run]:
    """One an edit."""
    for name, edit in EDITS.items():
        yield Run(name.replace(", ", "-"), {"edit": name, "after": []}, lambda edit=edit: _measure(edit))  # type: ignore[misc]


def _measure(edit: Edit) -> Result:
    tested = shares.served(RECIPE)
    answers = np.concatenate([c.rows() for c in tested])
    total = round(shares.PAIRS / RECIPE.share)
    generator = np.random.default_rng([RECIPE.seed, 4])
    clean = corpus.rows(corpus.load().clean, answers.shape[1], total - len(answers), generator)
    rows = np.concatenate([clean, edit(answers, np.random.default_rng([RECIPE.seed, 8]))])
    student = train(bases.load(RECIPE.size), rows, Training(rate=RECIPE.rate, batch=16), seed=RECIPE.seed)
    changed = float((rows[-len(answers) :, PROMPT:] != answers[:, PROMPT:]).mean())
    return {"changed": round(changed, 4), "tests": shares.test(student, tested, RECIPE), "after": []}


def report(results: dict[str, Result]) -> Result:
    """As `shares` reports, with the share of tokens that really changed."""
    found = shares.report(results)
    for name, result in results.items():
        found[name]["configuration"] = result["configuration"] | {"changed": result["changed"]}
    return found
