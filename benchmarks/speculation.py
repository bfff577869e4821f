"""Speculative decoding with a keyed and with a plain target: acceptance, passes, and whether a draft changes anything.

    python -m benchmarks.speculation [--seeds 3] [--max-tokens 64] [-o benchmarks/results/speculation.json]

SmolLM2 in float32 at temperature 0.8 is the target; it reads guesses of an n-gram draft (order 3, 4 tokens) and of a
greedy draft (the same model's likeliest 3 tokens: as good as a greedy draft can be). The keyed target has every window
on the fleet channel, width 2, and a key per seed; the plain one has a generator per seed. Printed per seed: accepted
over guessed, tokens per pass; and for keyed targets whether every answer equals the one drawn without a draft.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.ratios import write_json
from verify.hypotheses.closed import log10_p
from verify.scoring import score, summarize
from watermark.deployment import Deployment
from watermark.engines.models import LanguageModel, load
from watermark.engines.speculative import Draft, GreedyDraft, NgramDraft, Speculated, decode, no_draft
from watermark.keys import EpochKey, MasterKey
from watermark.sampling import Request, Sampler
from watermark.secret import Secret
from watermark.windows import TokenBatch

TEMPERATURE: Final = 0.8
PROMPTS: Final = (
    "Repeat three times: the keeper saw the lighthouse and the lighthouse saw the keeper.",
    "Correct the spelling: the quik brown fox jumpd over the lazy dog and the lazy dog slept on.",
    "Write a short story about a lighthouse keeper who finds a letter.",
    "Explain photosynthesis to a ten-year-old.",
)


def main() -> None:
    """Run all seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/speculation.json"))
    options = parser.parse_args()
    model = load(options.model, dtype="float32")
    drafts: dict[str, Draft] = {"none": no_draft, "ngram": NgramDraft(), "greedy": GreedyDraft(model.model, length=3)}
    runs = []
    for seed in range(options.seeds):
        epoch, made = _epoch(seed), {}
        for name, draft in drafts.items():
            made["keyed", name] = _answers(model, draft, options.max_tokens, epoch=epoch)
            if name != "none":
                made["plain", name] = _answers(model, draft, options.max_tokens, seed=seed)
        for (target, name), answers in made.items():
            run = {"seed": seed, "target": target, "draft": name} | _counted(answers)
            if target == "keyed":
                base = made["keyed", "none"]
                run["same_as_without_draft"] = sum(a.tokens == b.tokens for a, b in zip(answers, base, strict=True))
                run["answers"], run["log10_p"] = len(answers), _log10_p(answers, epoch)
            runs.append(run)
            print(run, flush=True)
    record: dict[str, Any] = {
        "command": "python -m benchmarks.speculation",
        "model": options.model,
        "temperature": TEMPERATURE,
        "prompts": len(PROMPTS),
        "max_tokens": options.max_tokens,
        "runs": runs,
    }
    write_json(options.output, record)


def _epoch(seed: int) -> EpochKey:
    deployment = Deployment.parse(scheme="gumbel", width=2, shares="fleet=1")
    return MasterKey(Secret(np.random.default_rng(seed).bytes(32))).epoch("speculation", deployment=deployment)


def _answers(
    model: LanguageModel, draft: Draft, max_tokens: int, *, epoch: EpochKey | None = None, seed: int = 0
) -> list[Speculated]:
    generator = np.random.default_rng([seed, 1])
    made = []
    for number, text in enumerate(PROMPTS):
        draw: Callable[[Any], int] = lambda row: int(np.argmax(row + generator.gumbel(size=len(row))))  # noqa: E731
        if epoch is not None:
            draw = _keyed(Sampler(epoch), Request(f"r{number}"))
        made.append(
            decode(
                *(model.model, model.tokenizer(model.chat(text), add_special_tokens=False).input_ids, draw),
                draft=draft,
                warp=lambda scores: scores / TEMPERATURE,
                end_token_ids=[model.tokenizer.eos_token_id],
                max_tokens=max_tokens,
            )
        )
    return made


def _keyed(sampler: Sampler, request: Request) -> Callable[[Any], int]:
    response = sampler.start(request)
    return lambda row: int(sampler.draw([response], row[None])[0])


def _counted(answers: list[Speculated]) -> dict[str, Any]:
    tokens, passes = sum(len(a.tokens) for a in answers), sum(a.passes for a in answers)
    guessed, accepted = sum(a.guessed for a in answers), sum(a.accepted for a in answers)
    return {
        "tokens": tokens,
        "tokens_per_pass": tokens / passes,
        "guessed": guessed,
        "acceptance": accepted / guessed if guessed else None,
    }


def _log10_p(answers: list[Speculated], epoch: EpochKey) -> float:
    documents = [np.array(a.tokens, dtype=np.uint32) for a in answers]
    s = score(summarize(TokenBatch.from_documents(documents), 2).pairs, epoch.value_key("fleet"))
    return float(log10_p(epoch.deployment.scheme.law, s.n, s.total))


if __name__ == "__main__":
    main()
