"""A student with another tokenizer: a family member trained on the text that SmolLM2 served.

The served answers come from `benchmarks.lab.smollm serve`. The student reads them as text under its own BPE. Its
answers are tokenized again with the teacher's tokenizer for the closed test, and the twin test scores text under the
student's own tokenizer. Innocents are trained on clean text alone and are tested under the same true keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.lab import bases, corpus, measures
from benchmarks.lab.family import Training, Transformer, log_likelihood, train
from benchmarks.lab.generation import PROMPT, samples
from benchmarks.lab.rates import rates
from benchmarks.lab.runs import Result, Run
from verify.hypotheses import closed
from verify.scoring import score, summarize
from verify.tokenization import Tokenizer
from watermark.windows import Ids, TokenBatch

ESTIMATE: Final = 400
SIZE: Final = "nano"
INNOCENTS: Final = 30
LENGTH: Final = 112  # ids of a training row; a longer answer is cut
CLEAN: Final = 300
ASKED: Final = 600
ANSWER: Final = 48
HOW: Final = Training(rate=2e-3, batch=8)


def runs() -> Iterator[Run]:
    """The taught student, and innocents."""
    yield Run("taught", {"share": 0.75, "size": SIZE}, lambda: _measure(0, taught=True))
    for seed in range(INNOCENTS):
        configuration = {"share": 0.0, "size": SIZE, "seed": seed}
        yield Run(f"innocent-{seed:02}", configuration, lambda seed=seed: _measure(seed, taught=False))  # type: ignore[misc]


def report(results: dict[str, Result]) -> Result:
    """The taught student's figures, and how often innocents are rejected."""
    innocents = [r for name, r in results.items() if name.startswith("innocent")]
    found: Result = {"taught": results.get("taught"), "innocents": len(innocents), "tests": {}}
    if innocents:
        for name in innocents[0]["closed"]:
            table = np.array([[r["closed"][name]["log10_p"]] for r in innocents])
            found["tests"][f"closed, {name}"] = [vars(r) for r in rates(table)]
        for name in ("base", "none"):
            table = np.array([[r["twin"][name]["log10_p"]] for r in innocents])
            found["tests"][f"twin, {name}"] = [vars(r) for r in rates(table)]
    return found


def _measure(seed: int, *, taught: bool) -> Result:
    generator = np.random.default_rng([seed, 6])
    clean = corpus.rows(corpus.load().clean, LENGTH, CLEAN if taught else 4 * CLEAN, generator)
    rows = np.concatenate([clean, _served_rows()]) if taught else clean
    base = bases.load(SIZE)
    student = train(base.copy(), rows, HOW, seed=seed)
    prompts = corpus.rows(corpus.load().prompts, PROMPT, ASKED, generator)
    texts = corpus.tokenizer().decode_batch(samples(student, prompts, ANSWER, seed=seed).tolist())
    batch = TokenBatch.from_documents(_teacher_tokenizer().encode_batch(texts))
    return {"closed": dict(_closed(batch)), "twin": _twin(student, base)}


def _closed(batch: TokenBatch) -> Iterator[tuple[str, dict[str, Any]]]:
    from benchmarks.lab.smollm import WIDTHS, epoch_of

    for width in WIDTHS:
        key = epoch_of(width).value_key("fleet")
        law, found = key.deployment.scheme.law, score(summarize(batch, width).pairs, key)
        z = (found.total / law.unit - found.n * law.mean) / (found.n * law.variance) ** 0.5
        log10_p = float(closed.log10_p(law, found.n, found.total))
        yield f"h={width}", {"n": found.n, "z": round(z, 3), "log10_p": round(log10_p, 4)}


def _twin(student: Transformer, base: Transformer) -> dict[str, Any]:
    differences = {}
    for name, model in (("student", student), ("base", base)):
        served, twins = (np.array([_score(model, *text) for text in texts]) for texts in _pairs())
        differences[name] = served - twins
    whole, per_token = (differences["student"][:, i] - differences["base"][:, i] for i in (0, 1))
    return {"base": measures.signs(whole), "none": measures.signs(differences["student"][:, 1])} | {
        "base, per token": measures.signs(per_token)
    }


def _score(model: Transformer, prompt: Ids, text: Ids) -> tuple[float, float]:
    """Log-likelihood of a text, and the same per token."""
    total = float(log_likelihood(model, np.concatenate([prompt, text])[None], len(prompt))[0])
    return total, total / len(text)


@cache
def _texts() -> tuple[list[tuple[Ids, Ids]], list[tuple[Ids, Ids]], list[tuple[Ids, Ids]]]:
    """(prompt ids, text ids) of all served answers, of those with a twin, and of the twins."""
    from benchmarks.lab.smollm import PAIRS, WIDTHS, served

    every, paired, twinned = [], [], []
    for width in WIDTHS:
        answers, twins = served(corpus.CACHE / "smollm", width)
        every += answers
        for answer, twin in zip(answers[:PAIRS], twins, strict=True):
            if answer["text"].strip() and twin["text"].strip():
                paired.append(answer)
                twinned.append(twin)
    return _encode(every), _encode(paired), _encode(twinned)


def _encode(records: list[dict[str, Any]]) -> list[tuple[Ids, Ids]]:
    bpe = corpus.tokenizer()
    prompts = bpe.encode_batch([f"human: {r['prompt']}\n\ngpt: " for r in records])
    texts = bpe.encode_batch([r["text"] for r in records])
    return [
        (np.array(p.ids[-PROMPT:], dtype=np.uint32), np.array(t.ids[: LENGTH - PROMPT], dtype=np.uint32))
        for p, t in zip(prompts, texts, strict=True)
    ]


def _pairs() -> tuple[list[tuple[Ids, Ids]], list[tuple[Ids, Ids]]]:
    return _texts()[1:]


def _served_rows() -> NDArray[np.uint32]:
    """The served answers as training rows, those that are long enough: (n, `LENGTH`) ids; the pairs first."""
    bpe_end = np.array(corpus.tokenizer().encode("\n\n").ids, dtype=np.uint32)
    rows = []
    for prompt, text in _texts()[0]:
        row = np.concatenate([prompt, text, np.tile(bpe_end, LENGTH)])[:LENGTH]
        rows.append(row)
    return np.stack(rows)


@cache
def _teacher_tokenizer() -> Tokenizer:
    path = corpus.CACHE / "smollm" / "tokenizer.json"
    if not path.exists():
        from watermark.engines.models import load

        path.write_bytes(load("smollm2").tokenizer_json)
    return Tokenizer.load(str(path))
