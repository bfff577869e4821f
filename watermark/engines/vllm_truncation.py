"""Temperature, min-p, top-k and top-p of a batch, as vLLM 0.32 applies them.

Symbols: B rows, V vocabulary, m how many of the largest logits are looked at first.

On CPUs vLLM sorts the whole vocabulary for top-p. `_nucleus` needs the m largest logits only.
It keeps the same logits. Of equal ones at the edge vLLM keeps whichever its unstable sort leaves; here it is as many,
the highest ids. Rows it cannot decide (a wider nucleus, or an edge within rounding of p) go to vLLM's own function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

LOOKED_AT: Final = 1024
# vLLM sums probabilities in float32: closer to p than this, its rounding decides.
MARGIN: Final = 1e-5


@dataclass(frozen=True)
class Rule:
    """What a request asks for.

    Attributes:
        temperature: above 0.
        min_p: 0 is off.
        top_k: the vocabulary's size is off.
        top_p: 1 is off.
    """

    temperature: float
    min_p: float
    top_k: int
    top_p: float

    @classmethod
    def of(cls, params: Any, vocabulary: int) -> Rule:
        """Of vLLM's `SamplingParams`."""
        top_k = params.top_k if 0 < params.top_k < vocabulary else vocabulary
        return cls(params.temperature, params.min_p, top_k, params.top_p)


def temper(logits: torch.Tensor, rules: Sequence[Rule]) -> torch.Tensor:
    """Temperature, then min-p, as Model Runner V2 does after its plugins: a new (B, V) tensor.

    Args:
        logits: (B, V) float32.
        rules: one per row.
    """
    column = torch.tensor([rule.temperature for rule in rules], dtype=torch.float32, device=logits.device)[:, None]
    logits = logits / column
    if any(rule.min_p for rule in rules):
        logs = [math.log(rule.min_p) if rule.min_p else -math.inf for rule in rules]
        lowest = (
            logits.amax(dim=1, keepdim=True) + torch.tensor(logs, dtype=torch.float32, device=logits.device)[:, None]
        )
        logits.masked_fill_(logits < lowest, -torch.inf)
    return logits


def truncate(logits: torch.Tensor, rules: Sequence[Rule]) -> torch.Tensor:
    """Top-k, then top-p; what they remove becomes -inf. It may change `logits`.

    Args:
        logits: (B, V) float32, after temperature and min-p.
        rules: one per row.
    """
    size = logits.shape[1]
    cut = [row for row, rule in enumerate(rules) if rule.top_k < size or rule.top_p < 1]
    if logits.device.type != "cpu":  # vLLM has kernels there
        return _vllm(logits, rules) if cut else logits
    # Without top-p vLLM does not sort.
    left = [row for row in cut if rules[row].top_p == 1 or not _nucleus(logits[row], rules[row])]
    for top_p in (True, False):
        part = [row for row in left if (rules[row].top_p < 1) == top_p]
        if part:
            logits[part] = _vllm(logits[part], [rules[row] for row in part])
    return logits


def _vllm(logits: torch.Tensor, rules: Sequence[Rule]) -> torch.Tensor:
    size, device = logits.shape[1], logits.device
    k = torch.tensor([rule.top_k for rule in rules], dtype=torch.int32, device=device)
    p = torch.tensor([rule.top_p for rule in rules], dtype=torch.float32, device=device)
    cut: torch.Tensor = apply_top_k_top_p(
        logits, k if any(r.top_k < size for r in rules) else None, p if any(r.top_p < 1 for r in rules) else None
    )
    return cut


def _nucleus(row: torch.Tensor, rule: Rule) -> bool:
    """Apply top-k and top-p to one row in place, or leave it alone and return False: see above."""
    size = len(row)
    values = row.topk(min(LOOKED_AT, size)).values
    kept = len(values)
    if rule.top_k < size:
        if rule.top_k > len(values):
            return False
        kept = int((values >= values[rule.top_k - 1]).sum())  # ties at the edge stay
        if kept == len(values) < size:
            return False
    masses = values[:kept].double()
    total = masses.logsumexp(0) if rule.top_k < size else row.logsumexp(0).double()
    before = (masses - total).exp().cumsum(0)  # mass of the j + 1 largest
    wanted = 1 + int((before[:-1] < rule.top_p).sum())
    edge, near = values[wanted - 1], before[max(wanted - 2, 0) : wanted] - rule.top_p
    if (values[-1] == edge and len(values) < size) or bool((near.abs() < MARGIN).any()):
        return False
    partly = int((values[:kept] >= edge).sum()) - wanted
    row.masked_fill_(row < edge, -torch.inf)
    if partly:
        row[(row == edge).nonzero()[:partly, 0]] = -torch.inf
    return True
