"""How fast engines' own marks are scored, beside the engines' own detectors on the same ids.

    python -m benchmarks.native_speed [--tokens 1000000] [--repeats 5]
        [--vllm-python PATH] [--sglang-python PATH] [--transformers-python PATH]
        [-o benchmarks/results/native_speed.json]

One thread, one core. Ours is ids to log10 p, distinct over the corpus included, median over repeats with its spread:
the scorer of the engine's own mark, and beside it the closed test of our own mark (gumbel, the same width or 3).
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.throughput import BATCH, epoch
from verify import scoring
from verify.hypotheses import closed
from verify.native.pairs import Corpus, distinct_rows, pair_rows
from verify.native.tails import log10_p
from watermark.native import AnyMark
from watermark.native.greenlist import GreenList
from watermark.native.sglang import Gumbel as Sglang
from watermark.native.synthid import SynthId
from watermark.native.vllm import DualKeyGumbel, Gumbel
from watermark.prf import MAX_WIDTH
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


def own(batch: TokenBatch, width: int) -> float:
    """Ids to log10 p of our own mark."""
    ids, size = batch.ids, BATCH // DOCUMENT * DOCUMENT
    parts = (ids[i : i + size] for i in range(0, ids.size, size))
    batches = (TokenBatch(part, np.arange(0, part.size + 1, DOCUMENT)) for part in parts)
    key = epoch(width=width).value_key("fleet")
    found = scoring.score(scoring.merge((scoring.summarize(b, width) for b in batches), width).pairs, key)
    return float(closed.log10_p(key.deployment.scheme.law, found.n, found.total))


def timed(run: Callable[[], float], tokens: int, repeats: int) -> list[float]:
    """Tokens a second of each repeat, after one that is not counted."""
    run()
    rates = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        rates.append(tokens / (time.perf_counter() - began))
    return rates


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
    whole = TokenBatch(ids, np.arange(0, ids.size + 1, DOCUMENT))
    for name, (mark, most, engine, peer_tokens) in MARKS.items():
        part, width = ids[:most], min(mark.width, MAX_WIDTH)
        batch = TokenBatch(part, np.arange(0, part.size + 1, DOCUMENT))
        rates = {
            "scorer": timed(partial(score, mark, batch), part.size, options.repeats),
            f"own mark, width {width}": timed(partial(own, whole, width), ids.size, options.repeats),
        }
        found: dict[str, Any] = {"tokens": part.size, "own tokens": ids.size}
        found |= {f"{who} ids/s": spread(values) for who, values in rates.items()}
        python = getattr(options, f"{engine}_python")
        theirs: list[float] = []
        if python is None:
            found["peer"] = "not run"
        else:
            python = str(Path(python).absolute())  # it runs elsewhere
            theirs = [peer_tokens / s for s in peer_seconds(python, PEERS[name], ids[:peer_tokens], options.repeats)]
            found |= {"peer ids/s": spread(theirs), "peer tokens": peer_tokens}
            print(f"{name:24} {engine:24} {np.median(theirs):12,.0f} ids/s")
        for who, values in rates.items():
            line = f"{name:24} {who:24} {np.median(values):12,.0f} ids/s ({min(values):,.0f} to {max(values):,.0f})"
            if theirs:
                ratios = spread([a / b for a, b in zip(values, theirs, strict=True)])
                found[f"{who}, times peer"] = ratios
                line += f"   times peer {ratios['median']:.3g} ({ratios['min']:.3g} to {ratios['max']:.3g})"
            print(line, flush=True)
        record["marks"][name] = found
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
