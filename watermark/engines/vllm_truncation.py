"""Temperature, min-p, top-k and top-p of a batch, as vLLM 0.32 applies them.

Symbols: B rows, V vocabulary, k and p of top-k and top-p.

On CPUs vLLM sorts the whole vocabulary for top-p. Here a bound that enough logits reach is found first, from the
largest of each group of them, and only those that reach it are sorted.
The same logits stay. Of equal ones at the edge of top-p vLLM keeps whichever its unstable sort leaves; here it is as
many, the highest ids. Rows that cannot be decided so (a wide nucleus, or an edge within rounding of p) go to vLLM's own
functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

from watermark.candidates import Row
from watermark.engines.tensors import candidates
from watermark.schemes import Logits
from watermark.windows import Ids

LOOKED_AT: Final = 1024  # logits that a nucleus is looked for in
SPARE: Final = 4  # groups for each logit that is wanted
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

    def cuts(self, vocabulary: int) -> bool:
        """Whether top-k or top-p can remove anything."""
        return self.top_k < vocabulary or self.top_p < 1


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


def truncate(logits: torch.Tensor, rules: Sequence[Rule]) -> list[Row]:
    """The candidates that top-k, then top-p leave in each row.

    Args:
        logits: (B, V) float32, after temperature and min-p; they stay as they are.
        rules: one per row.
    """
    size = logits.shape[1]
    if logits.device.type != "cpu":  # vLLM has kernels there, which write into what they get
        return candidates(_vllm(logits.clone(), rules) if any(rule.cuts(size) for rule in rules) else logits)
    values = logits.numpy()
    found = [_largest(row, rule) if rule.cuts(size) else Row.find(row) for row, rule in zip(values, rules, strict=True)]
    for sorts in (True, False):  # without top-p vLLM does not sort
        left = [row for row, rule in enumerate(rules) if found[row] is None and (rule.top_p < 1) == sorts]
        cut = candidates(_vllm(logits[left], [rules[row] for row in left])) if left else []
        for row, part in zip(left, cut, strict=True):
            found[row] = part
    return [row for row in found if row is not None]


def _vllm(logits: torch.Tensor, rules: Sequence[Rule]) -> torch.Tensor:
    size, device = logits.shape[1], logits.device
    k = torch.tensor([rule.top_k for rule in rules], dtype=torch.int32, device=device)
    p = torch.tensor([rule.top_p for rule in rules], dtype=torch.float32, device=device)
    cut: torch.Tensor = apply_top_k_top_p(
        logits, k if any(r.top_k < size for r in rules) else None, p if any(r.top_p < 1 for r in rules) else None
    )
    return cut


def _largest(row: Logits, rule: Rule) -> Row | None:
    """What top-k and top-p leave of (V,) logits, or None: see above."""
    size = len(row)
    by_k = rule.top_k < size
    ids = _reaching(row, rule.top_k if by_k else LOOKED_AT)
    if ids is None:
        return None
    values = row[ids]
    edge = -np.inf
    if by_k:
        edge = np.partition(values, len(values) - rule.top_k)[len(values) - rule.top_k]  # ties at the edge stay
    drop = 0
    if rule.top_p < 1:
        order = np.sort(values[values >= edge])[::-1]
        with np.errstate(over="ignore"):  # of differences, which then have no mass
            masses = np.exp((order - order[0]).astype(np.float64))
            total = masses.sum() if by_k else np.exp(row - order[0]).sum(dtype=np.float64)
        before = masses.cumsum() / total  # mass of the j + 1 largest
        wanted = 1 + int(np.count_nonzero(before[:-1] < rule.top_p))
        near = before[max(wanted - 2, 0) : wanted] - rule.top_p
        if (wanted == len(order) and not by_k and len(ids) < size) or (np.abs(near) < MARGIN).any():
            return None
        edge = order[wanted - 1]
        drop = int(np.count_nonzero(order >= edge)) - wanted
    kept = np.flatnonzero((values >= edge) & (values != -np.inf))
    if drop:
        kept = np.delete(kept, np.flatnonzero(values[kept] == edge)[:drop])
    return Row(values[kept], ids[kept].astype(np.uint32), len(kept))


def _reaching(row: Logits, count: int) -> Ids | None:
    """The ids, in order, of all logits that reach a bound which at least `count` reach; None if there is no largest.

    The bound is reached by the largest logit of `count` groups. Where groups are many, two of the largest logits seldom
    share one, so that hardly more than `count` reach it.
    """
    size = len(row)
    n_groups = max(min(max(SPARE * count, LOOKED_AT), size // 2), 1)
    whole = size // n_groups * n_groups
    groups = row[:whole].reshape(-1, n_groups).max(axis=0)
    if not -np.inf < np.maximum(groups.max(), row[whole:].max(initial=-np.inf)) < np.inf:  # NaN is not
        return None
    if count > n_groups:
        return np.arange(size, dtype=np.uint32)
    bound = np.partition(groups, n_groups - count)[n_groups - count]
    return np.flatnonzero(row >= bound).astype(np.uint32)
