"""The open test of family members: predictions at first visits of windows, scored by every rule.

Symbols: n windows, k candidates, V vocabulary.
Prompts hold no marked text in the lab, so their windows do not count as visited.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lab import corpus
from benchmarks.lab.family import Transformer
from verify.hypotheses.open import RULES, Rule, in_channel, score_windows
from verify.hypotheses.reference import score_answers
from verify.linear import LinearForm, log10_e, log10_p, z
from verify.predictions import Prediction
from verify.visits import Visits
from watermark.keys import ValueKey
from watermark.windows import Ids, window_keys

Logs = NDArray[np.float32]
PUBLIC_ROWS: Final = 30


@dataclass(frozen=True)
class Places:
    """Where predictions are asked for: each window once, at its first visit.

    Attributes:
        rows: (m, L) ids, in serving order if they were served.
        start: column where the texts begin.
        at: (n, 2) row and column of the token that follows each window.
        windows: (n, h) ids.
    """

    rows: Ids
    start: int
    at: NDArray[np.int64]
    windows: Ids


def places(rows: Ids, start: int, width: int) -> Places:
    """First visits in rows (m, L) whose texts begin at column `start`."""
    visits, found = Visits(), []
    for number, row in enumerate(rows):
        at = np.arange(start + width, len(row))
        new = at[visits.visit(window_keys(row, at, width))]
        found.append(np.stack([np.full(len(new), number), new], axis=1))
    at = np.concatenate(found)
    return Places(rows, start, at, rows[at[:, :1], at[:, 1:] + np.arange(-width, 0)])


@torch.inference_mode()
def predictions(model: Transformer, asked: Places) -> Logs:
    """Natural log of the next-token law at each place: (n, V)."""
    found = []
    for start in range(0, len(asked.rows), 128):
        here = asked.at[(asked.at[:, 0] >= start) & (asked.at[:, 0] < start + 128)]
        logits = model(torch.from_numpy(asked.rows[start : start + 128, :-1].astype(np.int64)), start=asked.start)
        found.append(logits[here[:, 0] - start, here[:, 1] - 1 - asked.start].log_softmax(dim=1).numpy())
    return np.concatenate(found)


def measure(
    log_p: Logs, log_q: Logs, asked: Places, key: ValueKey, *, k: int, rules: Mapping[str, Rule] = RULES
) -> dict[str, Any]:
    """Every rule under one key, over the `k` candidates that are likeliest under either model."""
    own = in_channel(asked.windows, key)
    p, q = log_p[own], log_q[own]
    candidates = torch.from_numpy(np.maximum(p, q)).topk(k, dim=1, sorted=False).indices.numpy()
    p, q = np.take_along_axis(p, candidates, axis=1), np.take_along_axis(q, candidates, axis=1)
    found = {}
    for name, rule in rules.items():
        form = score_windows(asked.windows[own], candidates.astype(np.uint32), rule(p, q), key)
        found[name] = _figures(form, key)
    return found


def public(width: int, seed: int) -> Places:
    """Places in text that was never served: chosen without the key."""
    rows = corpus.rows(corpus.load().public, 64, PUBLIC_ROWS, np.random.default_rng([seed, 5]))
    return places(rows, 0, width)


def control(base: Transformer, prompts: Ids, own: Ids, key: ValueKey, *, k: int) -> dict[str, Any]:
    """The closed test of a student's own answers (n, T), with its base as control variate."""
    rows, length = np.concatenate([prompts, own], axis=1), own.shape[1]
    start = prompts.shape[1]
    at = np.stack([np.repeat(np.arange(len(own)), length), np.tile(np.arange(start, start + length), len(own))], axis=1)
    top = torch.from_numpy(predictions(base, Places(rows, start, at, own[:0]))).topk(k, dim=1, sorted=False)
    shape = (len(own), length, k)
    candidates, log_q = top.indices.numpy().astype(np.uint32).reshape(shape), top.values.numpy().reshape(shape)
    texts = (
        Prediction(
            id=str(i),
            ordinal=i,
            served=False,
            prompt_ids=prompts[i],
            token_ids=own[i],
            tokenizer="",
            at=np.arange(length),
            candidates=candidates[i],
            log_p=None,
            log_q=log_q[i],
            suspect="student",
            reference_model="base",
        )
        for i in range(len(own))
    )
    return _figures(score_answers(texts, key, prompt_windows=False).form, key)


def _figures(form: LinearForm, key: ValueKey) -> dict[str, Any]:
    law = key.deployment.scheme.law
    return {
        "n": form.n_windows,
        "z": round(z(law, form), 3),
        "log10_p": round(log10_p(law, form), 4),
        "log10_e": round(log10_e(law, form), 4),
    }
