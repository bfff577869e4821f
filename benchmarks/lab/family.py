"""A family of small transformers: decoder-only, pre-norm, learned positions, tied head.

Symbols: B rows, L ids of a row, V vocabulary, d model width.
Single precision, one thread, AdamW, no dropout; every run is a function of its seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.lab.corpus import VOCABULARY
from watermark.windows import Ids

CONTEXT: Final = 128


@dataclass(frozen=True)
class Size:
    """One member's shape.

    Attributes:
        width: d.
        layers: blocks.
        heads: attention heads.
    """

    width: int
    layers: int
    heads: int


SIZES: Final = {"nano": Size(64, 2, 2), "micro": Size(128, 4, 4), "mini": Size(256, 5, 4)}


class _Block(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads = size.heads
        self.norm1, self.norm2 = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.qkv = nn.Linear(size.width, 3 * size.width, bias=False)
        self.out = nn.Linear(size.width, size.width, bias=False)
        self.up = nn.Linear(size.width, 4 * size.width, bias=False)
        self.down = nn.Linear(4 * size.width, size.width, bias=False)

    def forward(self, x: Tensor, cache: list[Tensor] | None) -> Tensor:
        rows, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
            cache[:] = [k, v]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=length > 1)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, width))
        hidden: Tensor = x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))
        return hidden


class Transformer(nn.Module):
    """One member of the family.

    Args:
        size: its shape.
        seed: of its weights.
    """

    def __init__(self, size: Size, seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self.embed = nn.Embedding(VOCABULARY, size.width)
        self.place = nn.Embedding(CONTEXT, size.width)
        self.blocks = nn.ModuleList(_Block(size) for _ in range(size.layers))
        self.norm = nn.LayerNorm(size.width)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.ndim == 2:
                    deep = name.endswith(("out.weight", "down.weight"))
                    p.normal_(0.0, 0.02 / (2 * size.layers) ** 0.5 if deep else 0.02, generator=generator)

    def forward(self, ids: Tensor, cache: list[list[Tensor]] | None = None, start: int = 0) -> Tensor:
        """Logits (B, L - start, V) of the next token after each of the ids (B, L) from `start` on.

        Args:
            ids: (B, L) int64.
            cache: per block the keys and values so far, empty at first; it is extended. Only one id a row may follow
                a prompt.
            start: the first position whose logits are wanted: the head is half of all the work.
        """
        past = 0 if cache is None or not cache[0] else cache[0][0].shape[2]
        x = self.embed(ids) + self.place.weight[past : past + ids.shape[1]]
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache[i])
        return F.linear(self.norm(x[:, start:]), self.embed.weight)

    def new_cache(self) -> list[list[Tensor]]:
        """An empty cache for `forward`."""
        return [[] for _ in self.blocks]

    def copy(self) -> Transformer:
        """A model of its own with the same weights."""
        twin = Transformer(self.size)
        twin.load_state_dict(self.state_dict())
        return twin


@dataclass(frozen=True)
class Training:
    """How a model is trained.

    Attributes:
        rate: highest learning rate.
        batch: rows of a step.
        epochs: passes over the rows, each in an order of its own.
        warmup: share of the steps in which the rate rises.
        decay: whether the rate then falls to a tenth along a cosine; otherwise it stays.
    """

    rate: float = 1e-3
    batch: int = 32
    epochs: int = 1
    warmup: float = 0.05
    decay: bool = True


def train(
    model: Transformer,
    rows: Ids,
    how: Training,
    *,
    seed: int,
    progress: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Transformer:
    """Train in place on rows (n, L) of ids, and return the model."""
    torch.set_num_threads(1)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.01},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=how.rate, betas=(0.9, 0.98), fused=True)
    generator = np.random.default_rng(seed)
    per_epoch = -(-len(rows) // how.batch)
    steps, step = how.epochs * per_epoch, 0
    data = torch.from_numpy(rows.astype(np.int64))
    model.train()
    for _ in range(how.epochs):
        order = torch.from_numpy(generator.permutation(len(rows)))
        for some in torch.split(order, how.batch):
            scale = min(1.0, (step + 1) / max(1.0, how.warmup * steps))
            if how.decay:
                scale *= 0.55 + 0.45 * cos(pi * step / steps)
            for group in optimizer.param_groups:
                group["lr"] = how.rate * scale
            ids = data[some]
            loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            progress(step, steps, float(loss.detach()))
    return model.eval()


@torch.inference_mode()
def log_likelihood(model: Transformer, rows: Ids, start: int, *, batch: int = 256) -> NDArray[np.float64]:
    """Natural log of the probability of each row's ids from `start` on, given those before: (n, L) -> (n,)."""
    parts = []
    for some in torch.split(torch.from_numpy(rows.astype(np.int64)), batch):
        logits = model(some[:, :-1], start=start - 1)
        losses = F.cross_entropy(logits.flatten(0, 1), some[:, start:].flatten(), reduction="none")
        parts.append(-losses.view(len(some), -1).double().sum(1).numpy())
    return np.concatenate(parts)
