"""What a suspect lets be seen, and how much of an account's trace is left: the students of `ring` behind an endpoint.

* `all`: the log probability of every token of a given text, as with open weights.
* `top K`: at every position of a given text those of the K likeliest tokens. What is left of the probability is shared
  out among the other tokens as the base shares it, so that such a token counts by how much is left.
* `text, N`: N answers to every prompt and nothing else, by how alike they are to either member (`verify.similarity`).

All scores are functions of texts and suspect, and know nothing of what was served: the test is exact for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Final

import numpy as np
import torch

from benchmarks.lab import bases, corpus, measures, ring
from benchmarks.lab.family import Transformer
from benchmarks.lab.generation import PROMPT, samples
from benchmarks.lab.naming import named, summary
from benchmarks.lab.ring import Recipe
from benchmarks.lab.runs import Result, Run
from verify.similarity import MEASURES
from watermark.windows import Ids

ESTIMATE: Final = 2400
TOP: Final = (1, 5, 20)
ANSWERS: Final = (1, 4)
BATCH: Final = 256
ASKED: Final = 2000  # prompts answered together
RECIPES: Final = {
    "share-20": ring.RECIPES["share-20"],
    "epochs-3": Recipe(0.2, epochs=3),
    "epochs-10": Recipe(0.2, epochs=10),
    "epochs-3-again": Recipe(0.2, epochs=3, seed=1),
}


@torch.inference_mode()
def ratios(student: Transformer, rows: Ids, start: int) -> dict[str, measures.Floats]:
    """Log-likelihood ratio to the base of each row's ids from `start` on, by what is seen: (n,) each."""
    base, parts = bases.load(ring.SIZE), []
    for some in torch.split(torch.from_numpy(rows.astype(np.int64)), BATCH):
        p, q = (model(some[:, :-1], start=start - 1).log_softmax(dim=2).double() for model in (student, base))
        ids = some[:, start:, None]
        exact = (p.gather(2, ids) - q.gather(2, ids))[..., 0]
        likeliest, found = p.topk(max(TOP), dim=2).indices, {"all": exact.sum(dim=1)}
        for k in TOP:
            top = likeliest[..., :k]
            left, base_left = (1 - x.gather(2, top).exp().sum(dim=2) for x in (p, q))
            seen = (top == ids).any(dim=2)
            # Single precision may leave nothing, or less: as much as one rounding.
            rest = left.clamp(min=1e-7).log() - base_left.clamp(min=1e-7).log()
            found[f"top {k}"] = torch.where(seen, exact, rest).sum(dim=1)
        parts.append(found)
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def likenesses(student: Transformer, prompts: Ids, members: tuple[Ids, Ids]) -> dict[str, measures.Floats]:
    """How much more answers are like the first member than like the second, by how many there are and by measure."""
    decode = corpus.tokenizer().decode_batch
    first, second = (decode(ids.tolist()) for ids in members)
    sums = {name: np.zeros(len(prompts)) for name in MEASURES}
    found: dict[str, measures.Floats] = {}
    for number in range(1, max(ANSWERS) + 1):
        parts = [
            samples(student, prompts[i : i + ASKED], members[0].shape[1], seed=1000 * number + i // ASKED)
            for i in range(0, len(prompts), ASKED)
        ]
        texts = decode(np.concatenate(parts).tolist())
        for name, measure in MEASURES.items():
            alike = zip(texts, first, second, strict=True)
            sums[name] += np.array([measure(own, a) - measure(own, b) for own, a, b in alike])
        if number in ANSWERS:
            # Measures that are equal on paper may differ in the last digit: that is a tie.
            found |= {f"text, {number} ({name})": np.round(total / number, 12) for name, total in sums.items()}
    return found


def runs() -> Iterator[Run]:
    """One a student."""
    for name, recipe in RECIPES.items():
        yield Run(name, asdict(recipe), lambda name=name, recipe=recipe: _measure(name, recipe))  # type: ignore[misc]


def _measure(name: str, recipe: Recipe) -> Result:
    student = bases.kept(f"ring-{name}", ring.SIZE, lambda: ring.trained(recipe))
    served = ring.stock()
    scores = [ratios(student, served.rows(twins=twins), PROMPT) for twins in (False, True)]
    found = {kind: scores[0][kind] - scores[1][kind] for kind in scores[0]}
    found |= likenesses(student, served.prompts, (served.served, served.twins))
    equal = (served.served == served.twins).all(axis=1)
    result = {}
    for kind, differences in found.items():
        tested = np.where(equal, 0.0, differences).reshape(ring.ACCOUNTS, ring.PAIRS)
        result[kind] = named(*ring.alike(tested, recipe))
    return {"seen": result}


def report(results: dict[str, Result]) -> Result:
    """By student and by what is seen: see `naming.summary`."""
    return {
        name: {
            "configuration": asdict(recipe),
            "seen": {kind: summary([test]) for kind, test in results[name]["seen"].items()},
        }
        for name, recipe in RECIPES.items()
        if name in results
    }
