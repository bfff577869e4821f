"""Base models, trained once: nano is what students start from, micro is the teacher."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.lab import corpus
from benchmarks.lab.family import CONTEXT, SIZES, Training, Transformer, train

SEED: Final = 1
TOKENS: Final = {"nano": 6_000_000, "micro": 5_500_000, "mini": 3_000_000}
HOW: Final = Training(rate=3e-3, batch=16)


def load(name: str) -> Transformer:
    """The base of one size, trained if it is not there yet."""
    path = corpus.CACHE / f"base-{name}.pt"
    model = Transformer(SIZES[name], SEED)
    if not path.exists():
        rows = corpus.rows(corpus.load().base, CONTEXT, TOKENS[name] // CONTEXT, np.random.default_rng(SEED))
        started = time.monotonic()

        def progress(step: int, steps: int, loss: float) -> None:
            if step % 100 == 0:
                left = (time.monotonic() - started) * (steps / step - 1)
                print(f"base {name}: step {step} of {steps}, loss {loss:.3f}, {left:.0f} s left", flush=True)

        save(train(model, rows, HOW, seed=SEED, progress=progress), path)
    return restore(model, path)


def save(model: Transformer, path: Path) -> None:
    """Write a model's weights; a kill leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def kept(name: str, size: str, make: Callable[[], Transformer]) -> Transformer:
    """A student of that name from the cache, or made and kept."""
    path = corpus.CACHE / "students" / f"{name}.pt"
    if not path.exists():
        save(make(), path)
    return restore(Transformer(SIZES[size]), path)


def restore(model: Transformer, path: Path) -> Transformer:
    """Read weights into a model, and return it ready for use."""
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()
