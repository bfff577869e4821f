"""How fast prediction records become a Finding, and in how much memory.

    python -m benchmarks.open_speed [--windows 50000] [--candidates 1024] [--texts 250] [--rule difference] [-o FILE]

Synthetic records in the real format are written to a temporary file and streamed through the whole step: read, check,
first visits, channel, coefficients, PRF, sums, Finding. One thread. Printed beside it: bare AES over as many blocks as
there are candidates, measured in the same run, and the peak memory of the step in a process of its own.
Memory grows with the distinct windows (8 bytes each, twice that while runs merge) and the longest text, not with the
number of candidates: `--windows 1000000` needs 13 GB of disk.
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before any array library is imported

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from verify.hypotheses.open import RULES, score_predictions
from verify.linear_finding import find
from verify.predictions import Prediction, read_predictions
from watermark.deployment import Deployment
from watermark.keys import MasterKey, ValueKey
from watermark.prf import CHUNK_BLOCKS, Prf
from watermark.secret import Secret

VOCABULARY = 131_072


def key() -> ValueKey:
    """A fixed key of the default scheme."""
    deployment = Deployment.parse(shares="fleet=1")
    return MasterKey(Secret(bytes(32))).epoch("bench", deployment=deployment).value_key("fleet")


def write(path: Path, windows: int, candidates: int, per_text: int) -> None:
    """Texts with `per_text` recorded positions: laws fall off as 1/rank, the suspect's a little off the reference's."""
    rng, width = np.random.default_rng(0), key().deployment.width
    base = -np.log(np.arange(1, candidates + 1))
    base -= np.log(np.exp(base).sum()) + 0.05  # five percent of the probability lies outside
    with path.open("wb") as file:
        for n, start in enumerate(range(0, windows, per_text)):
            count = min(per_text, windows - start)  # the last place is the one where the text ended
            log_q = rng.permuted(np.tile(base, (count, 1)), axis=1)
            log_p = log_q + rng.normal(0, 0.1, log_q.shape) - 0.05
            offsets = np.arange(candidates) * (VOCABULARY // candidates)
            text = Prediction(
                id=f"t{n}",
                ordinal=n,
                served=True,
                prompt_ids=rng.integers(0, VOCABULARY, 40, dtype=np.uint32),
                token_ids=rng.integers(0, VOCABULARY, count + width - 1, dtype=np.uint32),
                tokenizer="sha256:" + "0" * 64,
                at=np.arange(width, count + width),
                candidates=(offsets + rng.integers(0, VOCABULARY // candidates, (count, 1))).astype(np.uint32),
                log_p=log_p.astype(np.float32),
                log_q=log_q.astype(np.float32),
                suspect="synthetic",
                reference_model="base",
            )
            file.write(text.to_json() + b"\n")


def step(path: str, rule: str) -> dict[str, Any]:
    """The whole step in this process."""
    began = time.perf_counter()
    scored = score_predictions(read_predictions(path), key(), rule=rule)
    found = find(scored, key(), alpha=1e-6, options={"prompt_windows": "count"})
    return {
        "seconds": time.perf_counter() - began,
        "windows": found.n_scored,
        "terms": found.n_terms,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def aes_seconds(blocks: int) -> float:
    """Seconds of bare AES over so many blocks."""
    prf, chunk = Prf(key().value), np.zeros((CHUNK_BLOCKS, 4), dtype="<u4")
    rounds = max(min(blocks // CHUNK_BLOCKS, 1000), 1)
    prf.words(chunk)
    began = time.perf_counter()
    for _ in range(rounds):
        prf.words(chunk)
    return (time.perf_counter() - began) / (rounds * CHUNK_BLOCKS) * blocks


def main() -> None:
    """Write, run in a fresh process, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=50_000)
    parser.add_argument("--candidates", type=int, default=1024)
    parser.add_argument("--texts", type=int, default=250, help="recorded positions in a text")
    parser.add_argument("--rule", choices=list(RULES), default="difference")
    parser.add_argument("-o", "--output", help="write the figures as JSON")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(step(arguments.step, arguments.rule)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.jsonl"
        write(path, arguments.windows, arguments.candidates, arguments.texts)
        size = path.stat().st_size
        command = [sys.executable, "-m", "benchmarks.open_speed", "--step", str(path), "--rule", arguments.rule]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    record = json.loads(done.stdout) | {"rule": arguments.rule, "candidates": arguments.candidates, "bytes": size}
    record["aes_seconds"] = aes_seconds(record["windows"] * arguments.candidates)
    record["windows_per_second"] = record["windows"] / record["seconds"]
    record["times_aes"] = record["seconds"] / record["aes_seconds"]
    print(
        f"{record['windows']:,} windows of {arguments.candidates:,} candidates ({size / 1e6:,.0f} MB, "
        f"{record['terms']:,} terms) in {record['seconds']:.2f} s: {record['windows_per_second']:,.0f} windows/s\n"
        f"peak memory {record['peak_mb']:,.0f} MB; bare AES over as many blocks {record['aes_seconds']:.3f} s: "
        f"ratio {record['times_aes']:.1f}"
    )
    if arguments.output:
        Path(arguments.output).write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
