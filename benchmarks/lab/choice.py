"""What a deployment costs and what it risks: the table that the default scheme, width and shares are chosen from.

    python -m benchmarks.lab.choice [--lab .lab/smollm] [-o benchmarks/results/lab-choice.json]

* Diversity: SmolLM2 answers each of a few prompts many times under one key, as many customers would ask; distinct
  bigrams and trigrams among the answers to one prompt, and how far two answers agree before they part.
* Quality: log-likelihood per token of those answers under the model itself.
* Strength: mean excess score of those answers per distinct pair on the key's channel.
* Stealing: a forger who holds some served answers writes, at every window he has seen, the token he has seen most often
  there. Reported is the share of the mark's excess on fresh windows that he gains (the served log of
  `benchmarks.lab.smollm`).

Intervals are 95 % bootstrap intervals over prompts (over answers for stealing).
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.lab.finetune import chat_ids
from benchmarks.lab.smollm import SEED, WIDTHS, epoch_of, first_exchanges, law, served
from verify.distinct import Pairs
from verify.hypotheses.open import in_channel
from verify.scoring import score, summarize
from watermark.decoding import Decoding
from watermark.deployment import Deployment
from watermark.engines.models import LanguageModel, answer, load
from watermark.keys import EpochKey, MasterKey
from watermark.prf import Prf, pack_blocks
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.windows import TokenBatch

PROMPTS: Final = 8
ANSWERS: Final = 12  # to each prompt
MAX_TOKENS: Final = 60
STOCKS: Final = (50, 250)  # served answers that a forger holds
HELD_OUT: Final = 50
RESAMPLES: Final = 400


@dataclass(frozen=True)
class Choice:
    """A deployment to look at; `scheme` None is plain sampling."""

    scheme: str | None
    width: int = 2
    shares: str = "fleet=1"


CHOICES: Final = (
    Choice(None),
    *(Choice("gumbel", width, shares) for width in WIDTHS for shares in ("fleet=1", "fleet=0.75,leaf=0.25")),
    Choice("gumbel", 2, "fleet=0.5,leaf=0.5"),
    Choice("tournament", 2, "fleet=1"),
    Choice("tournament", 2, "fleet=0.75,leaf=0.25"),
    Choice("greenlist", 2, "fleet=1"),
)


def main() -> None:
    """Measure every choice that is not in the output yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--lab", type=Path, default=Path(".lab/smollm"))
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/lab-choice.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    record: dict[str, Any] = {"model": "smollm2", "seed": SEED, "prompts": PROMPTS, "answers": ANSWERS}
    record |= {"max_tokens": MAX_TOKENS, "choices": {}, "stealing": {}}
    if options.output.exists():
        record = json.loads(options.output.read_text())
    model = None
    for choice in CHOICES:
        name = f"{choice.scheme or 'unmarked'} h={choice.width} {choice.shares}" if choice.scheme else "unmarked"
        if name not in record["choices"]:
            model = model or load("smollm2")
            record["choices"][name] = measure(model, choice)
            _save(options.output, record)
        row = record["choices"][name]
        print(f"{name:36} " + "  ".join(f"{k} {v['mean']:.3f}" for k, v in row.items() if v), flush=True)
    for width in WIDTHS:
        if str(width) not in record["stealing"]:
            record["stealing"][str(width)] = stealing(options.lab, width)
            _save(options.output, record)
        print(f"stealing h={width} " + str(record["stealing"][str(width)]))


def _save(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def measure(model: LanguageModel, choice: Choice) -> dict[str, Any]:
    """Diversity, quality and strength of one choice."""
    prompts = [question for _, (question, _) in zip(range(PROMPTS), first_exchanges(), strict=False)]
    asked = [prompt for prompt in prompts for _ in range(ANSWERS)]
    epoch = None if choice.scheme is None else _epoch(choice)
    torch.manual_seed(SEED)
    with tqdm(total=len(asked) * MAX_TOKENS, desc=str(choice), unit=" tokens", mininterval=30) as bar:
        answers = answer(
            model,
            asked,
            Decoding(temperature=1.0, max_tokens=MAX_TOKENS),
            requests=[Request(f"r{i}") for i in range(len(asked))],
            sampler=None if epoch is None else Sampler(epoch),
            batch_size=96,
            progress=bar.update,
        )
        ids = [a.token_ids for a in sorted(answers, key=lambda a: a.index)]
    groups = [ids[start : start + ANSWERS] for start in range(0, len(ids), ANSWERS)]
    likelihoods = [
        [float(_mean_log_p(model, prompt, each)) for each in group if each]
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    out: dict[str, Any] = {
        "distinct bigrams": _interval([_distinct(group, 2) for group in groups]),
        "distinct trigrams": _interval([_distinct(group, 3) for group in groups]),
        "common prefix": _interval([_common_prefix(group) for group in groups]),
        "log-likelihood": _interval([float(np.mean(group)) for group in likelihoods]),
        "excess": None,
    }
    if epoch is not None:
        key = epoch.value_key("fleet")
        scheme_law = key.deployment.scheme.law
        excesses = []
        for group in groups:
            batch = TokenBatch.from_documents([np.array(each, dtype=np.uint32) for each in group])
            scored = score(summarize(batch, choice.width).pairs, key)
            excesses.append((scored.total / scheme_law.unit / scored.n - scheme_law.mean) / scheme_law.variance**0.5)
        out["excess"] = _interval(excesses)
    return out


def stealing(lab: Path, width: int) -> dict[str, Any]:
    """The share of the excess on fresh windows that a forger gains, by the answers he holds."""
    answers = [np.array(a["ids"], dtype=np.uint32) for a in served(lab, width)[0]]
    key = epoch_of(width).value_key("fleet")
    law, prf = key.deployment.scheme.law, Prf(key.value)

    def excess(windows: NDArray[np.uint32], tokens: NDArray[np.uint32]) -> NDArray[np.float64]:
        scores = key.deployment.scheme.score(prf.words(pack_blocks(windows, tokens)))
        return scores / law.unit - law.mean

    def pairs_of(documents: Sequence[NDArray[np.uint32]]) -> Pairs:
        pairs = summarize(TokenBatch.from_documents(list(documents)), width).pairs
        return pairs[in_channel(pairs.windows(), key)]

    out = {}
    for stock in STOCKS:
        seen: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for document in answers[:stock]:
            ids = document.tolist()
            for t in range(width, len(ids)):
                seen[tuple(ids[t - width : t])][ids[t]] += 1
        gained, whole = [], []
        for document in answers[-HELD_OUT:]:
            pairs = pairs_of([document])
            if not len(pairs):
                continue
            windows = pairs.windows()
            known = [tuple(w) in seen for w in windows.tolist()]
            guesses = [seen[tuple(w)].most_common(1)[0][0] for w in windows[known].tolist()]
            gained.append(float(excess(windows[known], np.array(guesses, dtype=np.uint32)).sum()) if guesses else 0.0)
            whole.append(float(excess(windows, pairs.tokens()).sum()))
        rng = np.random.default_rng(SEED)
        chosen = rng.integers(0, len(gained), size=(RESAMPLES, len(gained)))
        shares = np.array(gained)[chosen].sum(axis=1) / np.array(whole)[chosen].sum(axis=1)
        low, high = np.quantile(shares, [0.025, 0.975])
        out[str(stock)] = {"mean": sum(gained) / sum(whole), "interval": [float(low), float(high)]}
    return out


def _epoch(choice: Choice) -> EpochKey:
    secret = np.random.default_rng([SEED, 5]).bytes(32)
    deployment = Deployment.parse(scheme=str(choice.scheme), width=choice.width, shares=choice.shares)
    return MasterKey(Secret(secret)).epoch("choice", deployment=deployment)


def _mean_log_p(model: LanguageModel, prompt: str, ids: list[int]) -> float:
    (log_p,) = law(model, [(chat_ids(model.tokenizer, prompt), ids)])
    return float(log_p[torch.arange(len(ids)), torch.tensor(ids)].mean())


def _distinct(group: Sequence[list[int]], n: int) -> float:
    grams = [tuple(ids[i : i + n]) for ids in group for i in range(len(ids) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _common_prefix(group: Sequence[list[int]]) -> float:
    """Mean tokens that two answers to one prompt have in common at the start."""
    lengths = []
    for i, a in enumerate(group):
        for b in group[:i]:
            together = 0
            while together < min(len(a), len(b)) and a[together] == b[together]:
                together += 1
            lengths.append(together)
    return float(np.mean(lengths))


def _interval(values: Sequence[float]) -> dict[str, Any]:
    rng = np.random.default_rng(SEED)
    means = np.array(values)[rng.integers(0, len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(np.mean(values)), "interval": [float(low), float(high)]}


if __name__ == "__main__":
    main()
