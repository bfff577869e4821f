"""What the mark does to the text: answers of the real model without a mark and under each scheme.

    python -m benchmarks.quality [--prompts 30] [--repeats 4] [--max-tokens 80] [-o benchmarks/results/quality.json]

Every prompt is answered `repeats` times at temperature 0.8 and top-p 0.95, by each arm: plain sampling (twice, with
other seeds: the second says how large noise is), each distortion-free scheme and the green list, which distorts and
shows that a difference is seen. There all windows are on the fleet channel, width 2, one key per arm: the strongest
mark. Two more arms are gumbel with the default shares, and with shares for accounts, each answer for another account:
what repeated questions get in operation.
Answers are kept in `--cache`, an arm per file, so a stopped run goes on.

Measured per prompt, then averaged over prompts:
* perplexity: exp of the mean negative log-likelihood per token under the same model at temperature 1;
* distinct-n: distinct n-grams over n-grams, per answer;
* self-BLEU: BLEU-4 of each answer against the others to its prompt, counts plus one from bigrams on (Zhu et al. 2018,
  arXiv 1802.01886; smoothing of Lin and Och 2004);
* loops: share of answers whose last 32 tokens are one phrase of at most 16 tokens, repeated.
Differences from the plain arm are paired by prompt; intervals are percentiles of a bootstrap over prompts.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.ratios import write_json
from watermark.decoding import Decoding
from watermark.defaults import SHARES
from watermark.deployment import Deployment
from watermark.keys import MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret

PROMPTS = Path("demo/prompts.txt")
DECODING: Final = Decoding(temperature=0.8, top_p=0.95)
PLAIN, AGAIN = "plain", "plain, other seeds"
# Scheme and shares of each arm; none is plain sampling.
ARMS: Final[dict[str, tuple[str, str] | None]] = {
    PLAIN: None,
    AGAIN: None,
    "gumbel": ("gumbel", "fleet=1"),
    "tournament": ("tournament", "fleet=1"),
    "greenlist": ("greenlist", "fleet=1"),
    "gumbel, default": ("gumbel", SHARES),
    "gumbel, accounts": ("gumbel", "fleet=0.5,account=0.25,leaf=0.25"),
}
LOOP_TAIL, LOOP_PERIOD = 32, 16
BOOTSTRAPS: Final = 5000
Floats = NDArray[np.float64]


def main() -> None:
    """Answer what is missing, then measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".lab/quality"))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/quality.json"))
    options = parser.parse_args()
    tables = {arm: measures(answers(options, arm), options.prompts) for arm in ARMS}
    record: dict[str, Any] = {
        "command": "python -m benchmarks.quality",
        **{name: getattr(options, name) for name in ("model", "prompts", "repeats", "max_tokens", "seed")},
        "decoding": asdict(replace(DECODING, max_tokens=options.max_tokens)),
        "bootstraps": BOOTSTRAPS,
        "arms": {arm: compare(table, tables[PLAIN], options.seed) for arm, table in tables.items()},
    }
    for name in tables[PLAIN]:
        print(name)
        for arm in ARMS:
            c = record["arms"][arm][name]
            print(f"  {arm:20} {c['mean']:8.4g}   difference {c['difference'][0]:+.3g} to {c['difference'][1]:+.3g}")
    write_json(options.output, record)


def answers(options: argparse.Namespace, arm: str) -> list[dict[str, Any]]:
    """The arm's answers with their log-likelihoods, from the cache or the model."""
    name = f"{arm.replace(', ', '-').replace(' ', '-')}-{options.prompts}x{options.repeats}x{options.max_tokens}"
    path = options.cache / f"{name}-{options.seed}.json"
    if not path.exists():
        write_json(path, _answer(options, arm))
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


def _answer(options: argparse.Namespace, arm: str) -> list[dict[str, Any]]:
    import torch
    from tqdm import tqdm

    from watermark.engines.models import answer, load
    from watermark.engines.probing import log_likelihoods

    torch.set_num_threads(1)
    torch.manual_seed(options.seed + 1000 * list(ARMS).index(arm))
    model = load(options.model)
    prompts = PROMPTS.read_text().splitlines()[: options.prompts]
    prompts = [prompt for prompt in prompts for _ in range(options.repeats)]
    sampler = None
    if (made_by := ARMS[arm]) is not None:
        deployment = Deployment.parse(scheme=made_by[0], width=2, shares=made_by[1])
        secret = Secret(np.random.default_rng(options.seed).bytes(32))
        sampler = Sampler(MasterKey(secret).epoch("quality", deployment=deployment))
    with tqdm(total=len(prompts) * options.max_tokens, desc=arm, unit=" tokens", disable=None) as bar:
        made = list(
            answer(
                model,
                prompts,
                replace(DECODING, max_tokens=options.max_tokens),
                requests=[Request(f"r{i}", account=f"a{i}") for i in range(len(prompts))],
                sampler=sampler,
                batch_size=80,
                progress=bar.update,
            )
        )
    likelihoods = log_likelihoods(model, [(prompts[a.index], a.text) for a in made])
    return [
        {"prompt": a.index // options.repeats, "ids": a.token_ids, "log_p": log_p, "tokens": tokens}
        for a, (log_p, tokens) in zip(made, likelihoods, strict=True)
    ]


def measures(rows: list[dict[str, Any]], prompts: int) -> dict[str, Floats]:
    """(prompts,) values of each measure."""
    groups = [[row for row in rows if row["prompt"] == prompt] for prompt in range(prompts)]
    texts = [[row["ids"] for row in group] for group in groups]
    table = {"log perplexity": [-sum(r["log_p"] for r in g) / sum(r["tokens"] for r in g) for g in groups]}
    for n in (1, 2, 3, 4):
        table[f"distinct-{n}"] = [_mean([distinct(ids, n) for ids in group]) for group in texts]
    table["self-BLEU"] = [_mean([bleu(ids, g[:i] + g[i + 1 :]) for i, ids in enumerate(g)]) for g in texts]
    table["loops"] = [_mean([float(loops(ids)) for ids in group]) for group in texts]
    table["tokens"] = [_mean([float(len(ids)) for ids in group]) for group in texts]
    return {name: np.array(values) for name, values in table.items()}


def distinct(ids: Sequence[int], n: int) -> float:
    """Distinct n-grams over n-grams."""
    grams = _grams(ids, n)
    return len(grams) / sum(grams.values()) if grams else 1.0


def bleu(ids: Sequence[int], others: Sequence[Sequence[int]]) -> float:
    """BLEU-4 of one text against several."""
    if not ids or not others:
        return 0.0
    log_precision = 0.0
    for n in (1, 2, 3, 4):
        grams, best = _grams(ids, n), Counter[tuple[int, ...]]()
        for other in others:
            best |= _grams(other, n)
        hits, total, more = sum((grams & best).values()), sum(grams.values()), int(n > 1)
        if hits + more == 0:
            return 0.0
        log_precision += math.log((hits + more) / (total + more)) / 4
    nearest = min((abs(len(other) - len(ids)), len(other)) for other in others)[1]
    return math.exp(log_precision + min(0.0, 1 - nearest / len(ids)))


def loops(ids: Sequence[int]) -> bool:
    """Whether the text ends in one phrase said again and again."""
    tail = list(ids[-LOOP_TAIL:])
    return len(tail) == LOOP_TAIL and any(tail[p:] == tail[:-p] for p in range(1, LOOP_PERIOD + 1))


def compare(table: dict[str, Floats], plain: dict[str, Floats], seed: int) -> dict[str, Any]:
    """Means with 95 % intervals, and the paired difference from the plain arm with its interval."""
    draws = np.random.default_rng(seed).integers(0, len(plain["loops"]), (BOOTSTRAPS, len(plain["loops"])))

    def interval(values: Floats) -> list[float]:
        return [float(x) for x in np.quantile(values[draws].mean(axis=1), (0.025, 0.975))]

    return {
        name: {
            "mean": float(values.mean()),
            "interval": interval(values),
            "difference": interval(values - plain[name]),
            "difference_mean": float((values - plain[name]).mean()),
        }
        for name, values in table.items()
    }


def _grams(ids: Sequence[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(zip(*(ids[i:] for i in range(n)), strict=False))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
