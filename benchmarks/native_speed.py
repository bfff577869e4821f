"""How fast engines' own marks are scored, beside the engines' own detectors on the same ids.

    python -m benchmarks.native_speed [--tokens 1000000] [--repeats 5]
        [--vllm-python PATH] [--sglang-python PATH] [--transformers-python PATH]
        [-o benchmarks/results/native_speed.json]

One thread, one core. Ours is ids to log10 p, distinct over the corpus included, median over repeats with its spread.
Each peer's detector runs in its own environment as a subprocess, on the first ids of the same sequence, and is timed
there once for every repeat, without its imports; an environment that is not named is reported as not run.
Tokens are synthetic: documents of 256 ids with a Zipf law over a vocabulary of 49,152.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from verify.native.pairs import Corpus, distinct_rows, pair_rows
from verify.native.tails import log10_p
from watermark.native import AnyMark
from watermark.native.greenlist import GreenList
from watermark.native.sglang import Gumbel as Sglang
from watermark.native.synthid import SynthId
from watermark.native.vllm import DualKeyGumbel, Gumbel
from watermark.secret import Secret
from watermark.windows import Ids, TokenBatch, windowed

DOCUMENT, VOCABULARY = 256, 49_152
ONE_THREAD = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
KEY = Secret(bytes(range(1, 9)))
MARKS: dict[str, tuple[AnyMark, int, str, int]] = {  # mark, tokens for us, whose environment, tokens for the peer
    "vllm-gumbel": (Gumbel(KEY, 4), 1 << 40, "vllm", 16_384),
    "vllm-dual-key-gumbel": (DualKeyGumbel(KEY, 4, 0.1), 1 << 40, "vllm", 16_384),
    "sglang-gumbel": (Sglang(KEY), 1 << 40, "sglang", 8_192),
    "synthid": (SynthId(Secret(np.random.default_rng(0).bytes(240)), 5), 1 << 40, "transformers", 4_096),
    "transformers-greenlist": (GreenList(KEY, VOCABULARY), 1 << 16, "transformers", 1_024),
}
# Each times its package's own detector on the documents in argv[1], argv[2] times, and prints the seconds.
PEERS = {
    "vllm-gumbel": "from vllm.v1.watermarking import GumbelWatermarkDetector as D\nrun = D(KEY).detect",
    "vllm-dual-key-gumbel": "from vllm.v1.watermarking import DualKeyGumbelWatermarkDetector as D\nrun = D(KEY).detect",
    "sglang-gumbel": """
import importlib.util, types
from importlib.metadata import distribution
folder = str(distribution("sglang").locate_file("sglang/srt/sampling/watermarking"))
sys.modules["w"] = package = types.ModuleType("w")
package.__path__ = [folder]
from w.detector import WatermarkDetector as D
run = D(f"{KEY:016x}").detect_tokens""",
    "synthid": """
import torch
from transformers import SynthIDTextWatermarkLogitsProcessor as P
torch.set_num_threads(1)
p = P(ngram_len=5, keys=list(range(1, 31)), sampling_table_size=2**16, sampling_table_seed=0,
      context_history_size=1024, device=torch.device("cpu"))
def run(ids):
    ids = torch.tensor([ids])
    g, mask = p.compute_g_values(ids), p.compute_context_repetition_mask(ids)
    return (g * mask[:, :, None]).sum()""",
    "transformers-greenlist": """
import torch
from transformers import PreTrainedConfig, WatermarkDetector, WatermarkingConfig
torch.set_num_threads(1)
d = WatermarkDetector(PreTrainedConfig(vocab_size=49152, bos_token_id=1), "cpu", WatermarkingConfig(hashing_key=KEY),
                      ignore_repeated_ngrams=True)
run = lambda ids: d(torch.tensor([ids]), return_dict=True)""",
}
FRAME = """
import json, sys, time
KEY = 0x0807060504030201
{setup}
documents = json.load(open(sys.argv[1]))
run(documents[0])
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    for document in documents:
        run(document)
    print("seconds", time.perf_counter() - began)
"""


def score(mark: AnyMark, batch: TokenBatch) -> float:
    """Ids to log10 p."""
    rows = distinct_rows(pair_rows(batch, windowed(batch, mark.width), mark.width))
    corpus = Corpus(len(batch.offsets) - 1, 0, batch.ids.size, {}, rows)
    scored = mark.score(mark.inputs(corpus.windows, corpus.tokens))
    return log10_p(scored.law, scored.n, scored.total)


def peer_seconds(python: str, setup: str, ids: Ids, repeats: int) -> list[float]:
    """Seconds of a peer's detector for each repeat, in its own environment."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ids.reshape(-1, DOCUMENT).tolist(), file)
        file.flush()
        command = [python, "-c", FRAME.format(setup=setup), file.name, str(repeats)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tempfile.gettempdir(), env=ONE_THREAD
        )
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr[-400:]}")
    return [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("seconds ")]


def spread(values: list[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    for engine in ("vllm", "sglang", "transformers"):
        parser.add_argument(f"--{engine}-python", help=f"Python of an environment that has {engine}")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/native_speed.json"))
    options = parser.parse_args()
    ids = np.minimum(np.random.default_rng(0).zipf(1.2, options.tokens), VOCABULARY).astype(np.uint32) - np.uint32(1)
    ids = ids[: ids.size // DOCUMENT * DOCUMENT]
    record: dict[str, Any] = {"tokens": ids.size, "repeats": options.repeats, "marks": {}}
    for name, (mark, most, engine, peer_tokens) in MARKS.items():
        part = ids[:most]
        batch = TokenBatch(part, np.arange(0, part.size + 1, DOCUMENT))
        score(mark, batch)
        rates = []
        for _ in range(options.repeats):
            began = time.perf_counter()
            score(mark, batch)
            rates.append(part.size / (time.perf_counter() - began))
        found: dict[str, Any] = {"radiolabel ids/s": spread(rates), "tokens": part.size}
        line = f"{name:24} {np.median(rates):12,.0f} ids/s ({min(rates):,.0f} to {max(rates):,.0f})"
        python = getattr(options, f"{engine}_python")
        if python is None:
            found["peer"] = "not run"
        else:
            theirs = [peer_tokens / s for s in peer_seconds(python, PEERS[name], ids[:peer_tokens], options.repeats)]
            ratios = [a / b for a, b in zip(rates, theirs, strict=True)]
            found |= {"peer ids/s": spread(theirs), "peer tokens": peer_tokens, "ratio": spread(ratios)}
            line += f"   {engine} {np.median(theirs):9,.0f}   ratio {np.median(ratios):.3g}"
            line += f" ({min(ratios):.3g} to {max(ratios):.3g})"
        record["marks"][name] = found
        print(line)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
