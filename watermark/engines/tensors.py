"""The draw from torch tensors on any device: the same tokens as from the same numbers in NumPy.

Symbols: B rows, V vocabulary.

A row's candidates are found on the device and only they travel; the draw itself is `watermark.sampling`'s. half and
bfloat16 logits become float32, which is exact, so a token depends on the logits and not on where they lie.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from watermark.candidates import MOST, Row
from watermark.sampling import Response, Sampler


def propose(sampler: Sampler, responses: Sequence[Response], logits: torch.Tensor) -> list[tuple[int, str]]:
    """`Sampler.propose` for a tensor.

    Args:
        sampler: the epoch's sampler; answers of several epochs are several calls.
        responses: B answers in progress.
        logits: (B, V) floating point, after temperature and truncation; -inf for what was removed.

    Returns:
        B pairs of token id and fate.

    Raises:
        Error: a row holds NaN or +inf, or has no candidate.
    """
    if logits.ndim != 2 or len(responses) != len(logits):
        raise ValueError(f"{len(responses)} responses do not go with logits of shape {tuple(logits.shape)}")
    return sampler.propose_rows(responses, candidates(logits))


def candidates(logits: torch.Tensor) -> list[Row]:
    """The candidates of each row.

    Args:
        logits: (B, V) floating point.
    """
    logits = logits.detach()
    if logits.dtype not in (torch.float32, torch.float64):
        logits = logits.float()
    if logits.device.type == "cpu":  # nothing travels
        return [Row.find(row) for row in logits.numpy()]
    return survivors(logits)


def survivors(logits: torch.Tensor) -> list[Row]:
    """The candidates of each row, found where the logits are.

    Args:
        logits: (B, V) float32 or float64.
    """
    left = logits != -torch.inf  # NaN stays, for `Row.check` to find
    counts = left.sum(dim=1).cpu().numpy()
    sparse = counts <= MOST * logits.shape[1]
    chosen = torch.from_numpy(sparse).to(logits.device)
    part = logits[chosen]
    at = left[chosen].nonzero(as_tuple=True)  # in order: by row, then by id
    ids, values = at[1].to(torch.int32).cpu().numpy().astype(np.uint32), part[at].cpu().numpy()
    whole = iter(logits[~chosen].cpu().numpy())
    ends = iter(np.cumsum(counts[sparse]).tolist())
    rows, first = [], 0
    for count, short in zip(counts.tolist(), sparse.tolist(), strict=True):
        if short:
            last = next(ends)
            rows.append(Row(values[first:last], ids[first:last], count))
            first = last
        else:
            rows.append(Row(next(whole), None, count))
    return rows
