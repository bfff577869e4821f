"""Answers of a family member, drawn by the project's own sampler: the reference, at about 60 us a token here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.lab.family import Transformer
from watermark.deployment import Deployment
from watermark.keys import EpochKey, MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.windows import Ids

PROMPT = 16  # ids


def epoch_key(seed: int, deployment: Deployment) -> EpochKey:
    """The epoch key of one lab seed: reproducible, so of no use for serving."""
    return MasterKey(Secret(np.random.default_rng([seed, 0x1AB]).bytes(32))).epoch("lab", deployment=deployment)


@torch.inference_mode()
def answers(
    model: Transformer,
    prompts: Ids,
    length: int,
    *,
    sampler: Sampler,
    requests: Sequence[str | Request],
    batch: int = 256,
) -> Ids:
    """Marked answers at temperature 1, one a prompt.

    Args:
        model: the teacher.
        prompts: (n, `PROMPT`) ids.
        length: tokens of an answer.
        sampler: of the epoch.
        requests: n of them or of their ids, each for one answer only.
        batch: answers drawn together.

    Returns:
        (n, length) ids.
    """
    parts = []
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        asked = [r if isinstance(r, Request) else Request(r) for r in requests[start : start + batch]]
        responses = [sampler.start(request) for request in asked]
        cache, feed, drawn = model.new_cache(), some.astype(np.int64), []
        for _ in range(length):
            logits = model(torch.from_numpy(feed), cache, start=-1)[:, 0].numpy()
            feed = sampler.draw(responses, logits)[:, None]
            drawn.append(feed[:, 0])
        parts.append(np.stack(drawn, axis=1).astype(np.uint32))
    return np.concatenate(parts)


@torch.inference_mode()
def samples(model: Transformer, prompts: Ids, length: int, *, seed: int) -> Ids:
    """Unmarked answers at temperature 1: (n, length) ids. Seeded."""
    generator = torch.Generator().manual_seed(seed)
    cache, feed, drawn = model.new_cache(), torch.from_numpy(prompts.astype(np.int64)), []
    for _ in range(length):
        below = model(feed, cache, start=-1)[:, 0].double().softmax(dim=1).cumsum(dim=1)
        # Inversion: one random number a token, where Gumbel-max needs one a candidate.
        u = torch.rand(len(below), 1, generator=generator, dtype=torch.float64) * below[:, -1:]
        feed = torch.searchsorted(below, u).clamp_(max=below.shape[1] - 1)
        drawn.append(feed[:, 0].numpy())
    return np.stack(drawn, axis=1).astype(np.uint32)
