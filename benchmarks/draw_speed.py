"""How long one keyed draw takes, beside the marks that transformers and vLLM bring, in one run.

    python -m benchmarks.draw_speed [--repeats 7] [--vllm-python /path/to/python] [-o FILE]

CPU time of one thread per sequence, which a busy machine changes less than the time on the wall; contestants take
turns within a repeat, and ratios are formed turn by turn. Logits are normal with standard deviation 3, float32, with
or without all but the likeliest 100 removed (-inf), in one (B, V) array; every row has another window.

* radiolabel: `Sampler.propose`, width 2, one fleet key: candidates found, keyed draw, token ids.
* SynthID: transformers' `SynthIDTextWatermarkLogitsProcessor`, 30 layers, ngram_len 3: only the tilt of the logits,
  the draw that follows is not counted.
* vLLM gumbel: `vllm.v1.watermarking.GumbelWatermarker` on CPU tensors, in the environment `--vllm-python` names.

A peer's batch is cut to at most 2^18 logits, which keeps its temporaries of gigabytes small: that favours it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.ratios import spread, turns, write_json
from benchmarks.throughput import _processor, epoch
from benchmarks.vllm_draws import logits
from watermark.sampling import Request, Sampler

VOCABULARIES: Final = (32_768, 131_072, 262_144)
CANDIDATES: Final = 100
BATCHES: Final = (1, 8, 32)
PEER_LOGITS: Final = 1 << 18
OURS: Final = "radiolabel gumbel"

Contestant = Callable[[int], float]


def ours(scheme: str, values: np.ndarray, calls: int) -> Contestant:
    """Seconds per sequence of the sampler."""
    sampler = Sampler(epoch(scheme))
    responses = [sampler.start(Request(f"r{row}")) for row in range(len(values))]
    for row, response in enumerate(responses):
        for token in (1, 2, 3 + row):
            response.take(token, "given")

    def run(turn: int) -> float:
        began = time.thread_time()
        for _ in range(calls):
            sampler.propose(responses, values)
        return (time.thread_time() - began) / calls / len(values)

    return run


def synthid(values: np.ndarray) -> Contestant | None:
    """Seconds per sequence of transformers' processor, or None if it is not installed."""
    try:
        import torch
        from transformers import SynthIDTextWatermarkLogitsProcessor
    except ImportError:
        return None
    torch.set_num_threads(1)
    processor = SynthIDTextWatermarkLogitsProcessor(
        ngram_len=3,
        keys=list(range(1, 31)),
        sampling_table_size=2**16,
        sampling_table_seed=0,
        context_history_size=1024,
        device=torch.device("cpu"),
    )
    scores = torch.from_numpy(values)
    ids = torch.arange(3 * len(values)).reshape(-1, 3)

    def run(turn: int) -> float:
        began = time.thread_time()
        processor(ids, scores)
        return (time.thread_time() - began) / len(values)

    return run


class Vllm:
    """vLLM in its own environment.

    Args:
        python: its interpreter.
    """

    def __init__(self, python: str) -> None:
        self.process = subprocess.Popen(
            [python, str(Path(__file__).with_name("vllm_draws.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._asked, self._answered = self.process.stdin, self.process.stdout
        self.version = self._answered.readline().strip()
        if not self.version:
            raise SystemExit(f"{python} has no vLLM with a Gumbel mark")

    def contestant(self, rows: int, vocabulary: int, candidates: int) -> Contestant:
        """Seconds per sequence."""
        line = json.dumps({"rows": rows, "vocabulary": vocabulary, "candidates": candidates}) + "\n"

        def run(turn: int) -> float:
            self._asked.write(line)
            self._asked.flush()
            return float(self._answered.readline()) / rows

        return run

    def close(self) -> None:
        """End the process."""
        self._asked.close()
        self.process.wait()


def measure(vocabulary: int, candidates: int, batch: int, repeats: int, vllm: Vllm | None) -> dict[str, Any]:
    """One row of the table."""
    values = logits(batch, vocabulary, candidates)
    peer_rows = min(batch, max(PEER_LOGITS // vocabulary, 1))
    calls = max(2, 64 // batch)
    contestants: dict[str, Contestant] = {OURS: ours("gumbel", values, calls)}
    contestants["radiolabel tournament"] = ours("tournament", values, 1 if candidates == vocabulary else calls)
    peer = synthid(values[:peer_rows])
    if peer:
        contestants["SynthID"] = peer
    if vllm:
        contestants["vLLM gumbel"] = vllm.contestant(peer_rows, vocabulary, candidates)
    found = turns(contestants, repeats)
    record: dict[str, Any] = {"vocabulary": vocabulary, "candidates": candidates, "batch": batch}
    print(f"\n{vocabulary:,} logits, {candidates:,} candidates, batch {batch}")
    for name in ("radiolabel gumbel", "radiolabel tournament", "SynthID", "vLLM gumbel"):
        if name not in found:
            record[name] = "not run"
            continue
        record[name] = {"ms": spread([1000 * s for s in found[name]])}
        line = f"  {name:22} {record[name]['ms']['median']:9.4f} ms a sequence"
        for reference in (OURS, "radiolabel tournament"):
            if not name.startswith("radiolabel"):
                ratio = spread([a / b for a, b in zip(found[name], found[reference], strict=True)])
                record[name][f"times {reference}"] = ratio
                line += f" {ratio['median']:7.1f} x {reference.split()[1]} ({ratio['low']:.1f} to {ratio['high']:.1f})"
        print(line, flush=True)
    return record


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--vllm-python", help="an interpreter whose environment has vLLM")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/draw_speed.json"))
    options = parser.parse_args()
    vllm = Vllm(options.vllm_python) if options.vllm_python else None
    machine = {"processor": _processor(), "python": platform.python_version(), "numpy": np.__version__}
    machine["vllm"] = vllm.version if vllm else "not run"
    print(machine, "load", os.getloadavg())
    rows = [(v, c, b) for v in VOCABULARIES for c in (v, CANDIDATES) for b in BATCHES]
    rows.append((49_152, 49_152, 32))  # the vocabulary of SmolLM2
    records = [measure(*row, options.repeats, vllm) for row in rows]
    if vllm:
        vllm.close()
    record = {"machine": machine, "repeats": options.repeats, "load": os.getloadavg(), "unit": "CPU ms of one thread"}
    write_json(options.output, record | {"rows": records})


if __name__ == "__main__":
    main()
