"""Statistical faults that other packages shipped, reproduced with the packages themselves: their number and ours.

One file of results, a unit each. What is not installed is reported as not run.

* synthid-table: z of the mean g-value on one null text, by transformers' own `compute_g_values`, under random keys and
  random table seeds. The bits come from a table of 65,536, whose share of ones is not one half: the spread of z over
  tables grows with the text, and so does the shift of z under the table that everybody has by default. The spread of
  our closed test's z stays at 1.
* kgw-tail: the p-value of transformers' `WatermarkDetector` for a count, beside the exact binomial tail.
* kgw-null: how often that detector calls null text marked at 1 %, random keys, as shipped and with its option to
  ignore repeated n-grams, beside our green list on the same ids.
* generator: `torch.Generator` on the CPU keeps 32 bits of a seed.
* constructions: no package, but inputs that packages have used: token XOR context, and sums of contexts, hashed by an
  ideal function; the spread of z on the same null text.
* vllm-dual: the p-value of vLLM's dual-key detector, a Gamma law by moments, beside the exact tail; and its single-key
  p-value where it underflows. Needs an interpreter with vLLM: `--python vllm=PATH`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from math import log10
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.suite import intervals, texts
from benchmarks.suite.benchmark import Needs, Profile
from benchmarks.suite.context import Context, Unit
from watermark.windows import Ids

NAME = "peers"
ABOUT = "statistical faults of other packages, reproduced on the same null text beside our numbers"
NEEDS = Needs(
    minutes={"quick": 1.5, "full": 15}, packages=("torch", "transformers"), environments=("vllm",)
)  # fmt: skip

LAYERS: Final = 30
VOCABULARY: Final = texts.VOCABULARY


def run(profile: Profile, context: Context) -> dict[str, Any]:
    """All faults of a profile."""
    full = profile == "full"
    units: list[Unit] = [
        *({"fault": "synthid-table", "tokens": n, "keys": 200 if full else 40, "tables": "random", "seed": 1}
          for n in ((300, 1_000, 3_000, 10_000, 30_000, 90_000) if full else (300, 3_000))),
        {"fault": "kgw-tail", "n": 1_000, "seed": 2},
        *({"fault": "kgw-null", "kind": kind, "tokens": 200, "trials": 300 if full else 20, "seed": 3}
          for kind in ("prose", "log")),
        {"fault": "generator", "seeds": 1_000, "seed": 4},
        *({"fault": "constructions", "tokens": n, "keys": 400 if full else 50, "seed": 5}
          for n in ((1_000, 10_000, 90_000) if full else (1_000,))),
        {"fault": "vllm-dual", "python": context.pythons.get("vllm"), "seed": 6},
    ]  # fmt: skip
    rows = context.each(units, measure)
    return {"rows": [{k: v for k, v in row.items() if k != "python"} for row in rows]}


def measure(unit: Unit) -> dict[str, Any]:
    """One fault."""
    return _FAULTS[unit["fault"]](unit)


def null_text(tokens: int) -> Ids:
    """Real prose and code, each window once: repeats are another fault."""
    whole = np.concatenate([texts.ids("prose"), texts.ids("code"), texts.ids("listings")])
    rows = np.lib.stride_tricks.sliding_window_view(whole, 3)
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)][:tokens].astype(np.uint32)


def spread(z: NDArray[np.float64]) -> dict[str, Any]:
    """Standard deviation over keys, 1 if the law is right, with its 95 % chi-square interval."""
    from scipy.special import chdtri

    n, sd = len(z), float(z.std(ddof=1))
    low, high = (float(sd * ((n - 1) / chdtri(n - 1, tail)) ** 0.5) for tail in (0.025, 0.975))
    return {"keys": n, "sd": sd, "low": low, "high": high}


def own_z(rows: Ids, keys: int, rng: np.random.Generator, scheme: str = "tournament") -> NDArray[np.float64]:
    """z of our scores of the same n-grams under random keys: (keys,)."""
    from watermark.prf import Prf, pack_blocks
    from watermark.schemes import parse
    from watermark.secret import Secret

    found, blocks = parse(scheme), pack_blocks(rows[:, :-1], np.ascontiguousarray(rows[:, -1]))
    law, n = found.law, len(rows)
    totals = [found.score(Prf(Secret(rng.bytes(16))).words(blocks)).sum() for _ in range(keys)]
    z: NDArray[np.float64] = (np.array(totals) / law.unit - n * law.mean) / (n * law.variance) ** 0.5
    return z


def _synthid(unit: Unit) -> dict[str, Any]:
    import torch
    from transformers import SynthIDTextWatermarkLogitsProcessor

    from watermark.native.synthid import SynthId
    from watermark.secret import Secret

    rng, rows = np.random.default_rng(unit["seed"]), null_text(unit["tokens"])
    z: list[float] = []
    default: list[float] = []
    agreed, n = 0, len(rows)
    tokens = np.ascontiguousarray(rows[:, -1])
    for key in range(unit["keys"]):
        keys, table = rng.integers(0, 2**62, LAYERS), int(rng.integers(1, 2**31))
        mark, usual = (SynthId(Secret(keys.astype("<i8").tobytes()), 3, table_seed=seed) for seed in (table, 0))
        if key < 2:  # the package itself, whose every bit must be the scorer's; the rest by the scorer
            processor = SynthIDTextWatermarkLogitsProcessor(
                ngram_len=3, keys=keys.tolist(), sampling_table_size=2**16, sampling_table_seed=table,
                context_history_size=1024, device=torch.device("cpu"),
            )  # fmt: skip
            part = rows[:: max(n // 2_000, 1)][:2_000]
            theirs = processor.compute_g_values(torch.tensor(part.astype(np.int64))).numpy()[:, 0]
            same = theirs == mark.g_values(part[:, :-1], np.ascontiguousarray(part[:, -1]))
            assert same.all(), "the scorer is not the package's function"
            agreed += same.size
        for found, under in ((z, mark), (default, usual)):
            ones = under.score(under.inputs(rows[:, :-1], tokens)).total
            found.append((ones - n * LAYERS / 2) / (n * LAYERS / 4) ** 0.5)
    ours = own_z(rows, unit["keys"], rng)
    return {"theirs": spread(np.array(z)), "ours": spread(ours), "bits_compared": agreed,
            "mean_z": {"default table": intervals.mean(default), "ours": intervals.mean(ours)}}  # fmt: skip


def _detector(key: int, *, ignore: bool = False) -> Any:
    from transformers import PretrainedConfig, WatermarkDetector, WatermarkingConfig

    config = PretrainedConfig(vocab_size=VOCABULARY, bos_token_id=VOCABULARY - 1)
    made = WatermarkingConfig(context_width=1, hashing_key=key)
    return WatermarkDetector(config, "cpu", made, ignore_repeated_ngrams=ignore)


def _kgw_tail(unit: Unit) -> dict[str, Any]:
    from verify.tails import binomial_log10_sf

    n, p, detector, rows = unit["n"], 0.25, _detector(12345), []
    for target in (2, 3, 4, 5, 6, 7, 8, 10, 20, 40):
        count = round(n * p + target * (n * p * (1 - p)) ** 0.5)
        if count > n:
            continue
        z = detector._compute_z_score(np.array([count]), np.array([n]))
        theirs = float(np.asarray(detector._compute_pval(z)).ravel()[0])
        exact = float(binomial_log10_sf(n, p, count))
        rows.append({"z": float(z[0]), "log10_theirs": log10(theirs) if theirs > 0 else None, "log10_exact": exact,
                     "times_too_small": 10 ** (exact - log10(theirs)) if theirs > 1e-300 else None})  # fmt: skip
    return {"rows": rows}


def _kgw_null(unit: Unit) -> dict[str, Any]:
    import torch

    from verify.hypotheses.closed import log10_p
    from verify.scoring import score, summarize
    from watermark.deployment import Deployment
    from watermark.keys import ValueKey
    from watermark.secret import Secret
    from watermark.windows import TokenBatch

    rng, trials = np.random.default_rng(unit["seed"]), unit["trials"]
    documents = texts.corpora(unit["kind"], length=unit["tokens"], count=64)
    d = Deployment.parse(scheme="greenlist:delta=2,gamma=0.25", width=1, shares="fleet=1")
    called = {"as shipped": 0, "ignoring repeated n-grams": 0, "radiolabel": 0}
    for trial in range(trials):
        own, key = documents[trial % 64], int(rng.integers(1, 2**62))
        for name, ignore in (("as shipped", False), ("ignoring repeated n-grams", True)):
            found = _detector(key, ignore=ignore)(torch.tensor(own.astype(np.int64))[None], return_dict=True)
            called[name] += float(np.asarray(found.p_value).ravel()[0]) <= 0.01
        value = ValueKey(Secret(rng.bytes(16)), Secret(rng.bytes(16)), "epoch/null/fleet", d)
        s = score(summarize(TokenBatch.from_documents([own]), 1).pairs, value)
        called["radiolabel"] += float(log10_p(d.scheme.law, s.n, s.total)) <= -2
    return {"level": 0.01, "called": {name: intervals.share(count, trials) for name, count in called.items()}}


def _generator(unit: Unit) -> dict[str, Any]:
    import torch

    from watermark.prf import Prf, pack_blocks
    from watermark.secret import Secret

    rng, same, ours, n = np.random.default_rng(unit["seed"]), 0, 0, unit["seeds"]
    block = pack_blocks(np.array([[1, 2]], dtype=np.uint32), np.array([3], dtype=np.uint32))
    for _ in range(n):
        seed = int(rng.integers(0, 2**63))
        other = seed ^ (1 << 32 + int(rng.integers(31)))  # differs in one of the upper bits
        a, b = (torch.rand(4, generator=torch.Generator().manual_seed(s)) for s in (seed, other))
        same += bool((a == b).all())
        x, y = (Prf(Secret(s.to_bytes(16, "little"))).words(block) for s in (seed, other))
        ours += bool((x == y).all())
    return {"theirs": intervals.share(same, n), "ours": intervals.share(ours, n)}


def _constructions(unit: Unit) -> dict[str, Any]:
    rng, rows = np.random.default_rng(unit["seed"]), null_text(unit["tokens"]).astype(np.int64)
    n, found = len(rows), {}
    inputs = {
        "token XOR context": rows[:, 1] ^ rows[:, 2],
        "sum of the context, and the token": (rows[:, 0] + rows[:, 1]) << 20 | rows[:, 2],
        "the whole n-gram": rows[:, 0] << 40 | rows[:, 1] << 20 | rows[:, 2],
    }
    for name, values in inputs.items():
        # An ideal function gives each distinct input one fair exponential: weights are how often it comes.
        weights = np.unique(values, return_counts=True)[1]
        z = [(float(rng.exponential(size=len(weights)) @ weights) - n) / n**0.5 for _ in range(unit["keys"])]
        found[name] = spread(np.array(z))
    return {"constructions": found, "ours": spread(own_z(rows.astype(np.uint32), unit["keys"], rng, "gumbel"))}


_VLLM: Final = """
import json, sys
from vllm.v1.watermarking import DualKeyGumbelWatermarkDetector, GumbelWatermarkDetector
grid = json.load(sys.stdin)
dual, single = DualKeyGumbelWatermarkDetector(7, alpha=0.1), GumbelWatermarkDetector(7)
json.dump({"dual": [dual._get_p_value(s, n) for n, s in grid["dual"]],
           "single": [single._get_p_value(s, n) for n, s in grid["single"]]}, sys.stdout)
"""


def _vllm(unit: Unit) -> dict[str, Any]:
    from verify.native.tails import hypoexponential_log10_sf
    from verify.tails import gamma_log10_sf

    if not unit["python"]:
        return {"not_run": "no interpreter with vllm was named: --python vllm=PATH"}
    dual = [(n, n * (1 + x)) for n in (32, 100, 1_000) for x in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8)]
    single = [(n, n * (1 + x)) for n in (100, 1_000) for x in (0.2, 0.8, 3.0)]
    done = subprocess.run([unit["python"], "-c", _VLLM], input=json.dumps({"dual": dual, "single": single}),
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        return {"not_run": f"vllm failed: {done.stderr.strip().splitlines()[-1][:200]}"}
    theirs = json.loads(done.stdout)
    rows = [_beside(n, s, p, float(hypoexponential_log10_sf(n, 0.9, 0.1, s)), "dual")
            for (n, s), p in zip(dual, theirs["dual"], strict=True)]  # fmt: skip
    rows += [_beside(n, s, p, float(gamma_log10_sf(n, s)), "single")
             for (n, s), p in zip(single, theirs["single"], strict=True)]  # fmt: skip
    return {"rows": rows}


def _beside(n: int, score: float, p: float, exact: float, kind: str) -> dict[str, Any]:
    theirs = log10(p) if p > 0 else None
    return {"mark": kind, "n": n, "score": score, "log10_theirs": theirs, "log10_exact": exact,
            "times_too_small": 10 ** (exact - theirs) if theirs is not None else None}  # fmt: skip


_FAULTS: Final[dict[str, Callable[[Unit], dict[str, Any]]]] = {
    "synthid-table": _synthid,
    "kgw-tail": _kgw_tail,
    "kgw-null": _kgw_null,
    "generator": _generator,
    "constructions": _constructions,
    "vllm-dual": _vllm,
}
