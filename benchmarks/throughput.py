"""How fast scoring, decoys and draws are, each beside something named and measured in the same run.

    python -m benchmarks.throughput [--tokens 10000000] [--repeats 5] [-o benchmarks/results/throughput.json]

One thread, one core. Every figure is the median over repeats with its spread; contestants take turns within a repeat.
Tokens are synthetic: documents of 256 ids with a Zipf law over a vocabulary of 49,152, which is what sets the share
of distinct pairs (printed). Baselines:

* scoring: `numpy.unique` of the packed pairs alone, that is the distinct step and nothing else; and transformers'
  `WatermarkDetector` (KGW green list) on a prefix of the same ids, if transformers is installed;
* decoys: AES-128 alone, over the same blocks and as many keys;
* draws: one multinomial draw by NumPy from the same logits; transformers' SynthID processor, if installed.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before any array library is imported

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from verify.hypotheses.decoys import rank
from verify.scoring import channel_blocks, merge, score, summarize
from watermark.deployment import Deployment
from watermark.keys import EpochKey, MasterKey
from watermark.prf import CHUNK_BLOCKS, Prf
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.windows import Ids, TokenBatch, window_keys, windowed

DOCUMENT, VOCABULARY, BATCH = 256, 49_152, 1 << 17


def timed(contestants: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each contestant in each repeat, taking turns; one uncounted round first."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def summary(values: list[float]) -> dict[str, float]:
    """Median and spread."""
    return {"median": float(np.median(values)), "min": min(values), "max": max(values)}


def report(title: str, unit: str, rates: dict[str, list[float]], reference: str) -> dict[str, Any]:
    """Print rates and the ratio to the reference, repeat by repeat."""
    print(f"\n{title}")
    record: dict[str, Any] = {"unit": unit}
    for name, values in rates.items():
        ratios = [a / b for a, b in zip(rates[reference], values, strict=True)]
        record[name] = {"rate": summary(values), f"{reference} is faster by": summary(ratios)}
        r, q = summary(values), summary(ratios)
        print(
            f"  {name:44} {r['median']:12,.4g} {unit} ({r['min']:,.4g} to {r['max']:,.4g})"
            + ("" if name == reference else f"   ratio {q['median']:.3g} ({q['min']:.3g} to {q['max']:.3g})")
        )
    return record


def epoch(scheme: str = "gumbel", width: int = 2) -> EpochKey:
    """A fixed key."""
    deployment = Deployment.parse(scheme=scheme, width=width, shares="fleet=1")
    return MasterKey(Secret(bytes(32))).epoch("bench", deployment=deployment)


def scoring(ids: Ids, width: int, repeats: int) -> dict[str, Any]:
    """Ids to p-value input, distinct included."""
    batches = [
        TokenBatch(part, np.arange(0, part.size + 1, DOCUMENT))
        for part in (ids[i : i + BATCH] for i in range(0, ids.size, BATCH))
    ]
    key = epoch(width=width).value_key("fleet")
    shares: list[float] = []

    def ours() -> None:
        pairs = merge((summarize(batch, width) for batch in batches), width).pairs
        score(pairs, key)
        shares.append(len(pairs) / ids.size)

    def unique() -> None:
        keys = [window_keys(b.ids, at := windowed(b, width), width) << np.uint64(20) | b.ids[at] for b in batches]
        np.unique(np.concatenate(keys))

    contestants: dict[str, Callable[[], object]] = {"radiolabel": ours}
    if width < 3:  # three ids and a token do not fit 64 bits
        contestants["numpy.unique alone"] = unique
    seconds = timed(contestants, repeats)
    rates = {name: [ids.size / s for s in values] for name, values in seconds.items()}
    peer = kgw_rate(ids)
    if peer:
        rates["transformers WatermarkDetector (KGW)"] = [peer] * repeats
    record = report(f"scoring, width {width}, {ids.size:,} ids, {shares[0]:.0%} distinct", "ids/s", rates, "radiolabel")
    return record | {"distinct_share": shares[0]}


def kgw_rate(ids: Ids, count: int = 2048) -> float | None:
    """Ids per second of transformers' detector, each n-gram once a document, or None if it is not installed."""
    try:
        import torch
        from transformers import PretrainedConfig, WatermarkDetector, WatermarkingConfig
    except ImportError:
        return None
    torch.set_num_threads(1)
    config = PretrainedConfig(vocab_size=VOCABULARY, bos_token_id=1)
    detector = WatermarkDetector(
        config, device="cpu", watermarking_config=WatermarkingConfig(context_width=1), ignore_repeated_ngrams=True
    )
    documents = torch.tensor(ids[:count].astype(np.int64)).reshape(-1, DOCUMENT)
    began = time.perf_counter()
    for document in documents:
        detector(document[None])
    return count / (time.perf_counter() - began)


def decoys(pairs_wanted: int, keys: int, repeats: int) -> dict[str, Any]:
    """Decoy keys over distinct pairs."""
    ids = np.random.default_rng(0).integers(0, VOCABULARY, pairs_wanted + 2, dtype=np.uint32)
    key = epoch().value_key("fleet")
    pairs = summarize(TokenBatch(ids, np.array([0, ids.size])), 2).pairs[:pairs_wanted]
    blocks = np.concatenate(list(channel_blocks(pairs, key)))
    chunks = [blocks[i : i + CHUNK_BLOCKS] for i in range(0, len(blocks), CHUNK_BLOCKS)]

    def aes() -> None:
        for i in range(keys):
            prf = Prf(Secret(i.to_bytes(16, "little")))
            for chunk in chunks:
                prf.words(chunk)

    seconds = timed({"radiolabel": lambda: rank(pairs, key, n=keys), "AES alone": aes}, repeats)
    rates = {name: [keys * len(pairs) / s for s in values] for name, values in seconds.items()}
    record = report(f"decoys, {len(pairs):,} pairs, {keys:,} keys", "pairs/s", rates, "radiolabel")
    minutes = 1e10 / np.median(rates["radiolabel"]) / 60
    print(f"  10^5 decoys over 10^5 pairs at that rate: {minutes:.2f} minutes a core")
    return record | {"minutes_for_1e10": minutes}


def draws(vocabulary: int, candidates: int, repeats: int) -> dict[str, Any]:
    """One keyed draw per call."""
    generator = np.random.default_rng(0)
    logits = (3 * generator.normal(size=(1, vocabulary))).astype(np.float32)
    if candidates < vocabulary:
        logits[0, np.argsort(logits[0])[:-candidates]] = -np.inf
    calls = 20

    def keyed(scheme: str) -> Callable[[], None]:
        sampler = Sampler(epoch(scheme))
        response = sampler.start(Request("r"))
        for token in (1, 2, 3):
            response.take(token, "given")

        def run() -> None:
            for _ in range(calls):
                sampler.propose([response], logits)

        return run

    def multinomial() -> None:
        for _ in range(calls):
            p = np.exp((logits[0] - logits[0].max()).astype(np.float64))
            np.searchsorted(np.cumsum(p), generator.random() * p.sum())

    contestants: dict[str, Callable[[], object]] = {f"radiolabel {s}": keyed(s) for s in ("gumbel", "tournament")}
    contestants["numpy unmarked draw"] = multinomial
    processor = synthid(vocabulary)
    if processor:
        contestants["transformers SynthID processor"] = processor(logits, calls)
    seconds = timed(contestants, repeats)
    rates = {name: [calls / s for s in values] for name, values in seconds.items()}
    record = report(f"draws, {vocabulary:,} logits, {candidates:,} candidates", "draws/s", rates, "radiolabel gumbel")
    milliseconds = summary([1000 / r for r in rates["radiolabel gumbel"]])
    print(f"  gumbel: {milliseconds['median']:.3f} ms a draw ({milliseconds['min']:.3f} to {milliseconds['max']:.3f})")
    return record | {"gumbel_ms": milliseconds}


def synthid(vocabulary: int) -> Callable[[np.ndarray, int], Callable[[], None]] | None:
    """transformers' SynthID processor as a contestant, or None if it is not installed."""
    try:
        import torch
        from transformers import SynthIDTextWatermarkLogitsProcessor
    except ImportError:
        return None
    torch.set_num_threads(1)

    def make(logits: np.ndarray, calls: int) -> Callable[[], None]:
        processor = SynthIDTextWatermarkLogitsProcessor(
            ngram_len=3,
            keys=list(range(1, 31)),
            sampling_table_size=2**16,
            sampling_table_seed=0,
            context_history_size=1024,
            device=torch.device("cpu"),
        )
        scores, ids = torch.tensor(logits), torch.tensor([[1, 2, 3]])

        def run() -> None:
            for _ in range(calls):
                processor(ids, scores)

        return run

    return make


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/throughput.json"))
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    count = options.tokens // DOCUMENT * DOCUMENT
    ids = np.minimum(generator.zipf(1.2, count), VOCABULARY).astype(np.uint32) - np.uint32(1)
    machine = {"processor": _processor(), "python": platform.python_version(), "numpy": np.__version__}
    records: dict[str, Any] = {"machine": machine, "repeats": options.repeats}
    print(machine["processor"])
    for width in (1, 2, 3):
        records[f"scoring h={width}"] = scoring(ids, width, options.repeats)
    records["decoys"] = decoys(100_000, 2_000, options.repeats)
    for vocabulary, candidates in ((131_072, 131_072), (131_072, 100)):
        records[f"draws {vocabulary}/{candidates}"] = draws(vocabulary, candidates, options.repeats)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(records, indent=1) + "\n")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
