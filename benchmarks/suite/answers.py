"""Answers of the real model under each mark, sampled once and kept: `Context.shared` holds one file a batch.

Every batch has a key of its own, drawn from its seed. Radiolabel's schemes mark every window (fleet=1) at width 2;
transformers samples its own two marks with its own processors: SynthID with n-grams of 3, so that both read as many
tokens, and the KGW green list (lefthash: one token). Sampling keeps the 100 likeliest tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.ratios import write_json
from benchmarks.suite.machine import ROOT
from watermark.deployment import Deployment
from watermark.keys import EpochKey, MasterKey
from watermark.secret import Secret
from watermark.windows import Ids

SCHEMES: Final = ("gumbel", "tournament", "greenlist")
NATIVE: Final = ("transformers-synthid", "transformers-greenlist")
UNMARKED: Final = "unmarked"
WIDTH: Final = 2
TOP_K: Final = 100


@dataclass(frozen=True)
class Batch:
    """One batch of answers.

    Attributes:
        mark: one of `SCHEMES`, `NATIVE`, or `UNMARKED`.
        temperature: of sampling.
        index: batches of one mark and temperature differ in prompts and key.
        answers: how many.
        tokens: of each, at most.
        model: as `watermark.engines.models.load` names it.
    """

    mark: str
    temperature: float
    index: int
    answers: int
    tokens: int
    model: str

    @property
    def seed(self) -> int:
        """Of the key, or of the generator where there is none."""
        return int.from_bytes(hashlib.sha256(repr(self).encode()).digest()[:4], "little")

    def epoch(self) -> EpochKey:
        """The key of this batch, for one of `SCHEMES`."""
        deployment = Deployment.parse(scheme=self.mark, width=WIDTH, shares="fleet=1")
        return MasterKey(Secret(self._bytes(32))).epoch("bench", deployment=deployment)

    def native(self) -> dict[str, Any]:
        """transformers' configuration with this batch's key, for one of `NATIVE`."""
        if self.mark == "transformers-synthid":
            keys = np.frombuffer(self._bytes(240), dtype="<u8") >> np.uint64(1)
            return {"ngram_len": WIDTH + 1, "keys": keys.tolist()}
        key = int(np.frombuffer(self._bytes(8), dtype="<u8")[0] >> np.uint64(1))
        return {"hashing_key": key, "greenlist_ratio": 0.25, "bias": 2.0, "seeding_scheme": "lefthash"}

    def _bytes(self, n: int) -> bytes:
        return np.random.default_rng(self.seed).bytes(n)


@dataclass(frozen=True)
class Sampled:
    """A batch's answers.

    Attributes:
        ids: of each answer, without special tokens at the end.
        entropy: nats, of the law that each token was drawn from, as many as ids.
    """

    ids: list[Ids]
    entropy: list[NDArray[np.float32]]


def sample(batch: Batch, folder: Path) -> Sampled:
    """The answers of a batch, from their file or from the model."""
    name = f"{batch.mark}-t{batch.temperature:g}-{batch.index}-{batch.seed:08x}.json"
    file = folder / "answers" / name
    if not file.exists():
        ids = _draw(batch)
        entropy = _entropies(batch, ids)
        record = {"ids": ids, "entropy": [np.round(e, 5).tolist() for e in entropy]}
        write_json(file, asdict(batch) | {"seed": batch.seed} | record)
    record = json.loads(file.read_text())
    return Sampled(
        [np.array(ids, dtype=np.uint32) for ids in record["ids"]],
        [np.array(e, dtype=np.float32) for e in record["entropy"]],
    )


def prompts(batch: Batch) -> list[str]:
    """The demo's prompts, from another place in each batch."""
    lines = (ROOT / "demo" / "prompts.txt").read_text().splitlines()
    return [lines[(batch.index * batch.answers + i) % len(lines)] for i in range(batch.answers)]


@cache
def model_of(name: str) -> Any:
    """A loaded model; one a process."""
    from watermark.engines.models import load

    return load(name)


def _draw(batch: Batch) -> list[list[int]]:
    import torch

    from watermark.decoding import Decoding
    from watermark.engines.models import answer
    from watermark.sampling import Request, Sampler

    decoding = Decoding(temperature=batch.temperature, top_k=TOP_K, max_tokens=batch.tokens)
    about = f"{batch.mark} at {batch.temperature:g}, batch {batch.index}"
    with tqdm(total=batch.answers * batch.tokens, desc=about, unit=" tokens", disable=None) as bar:
        torch.manual_seed(batch.seed)
        if batch.mark in NATIVE:
            return _native(batch, bar.update)
        sampler = None if batch.mark == UNMARKED else Sampler(batch.epoch())
        requests = [Request(f"r{i}") for i in range(batch.answers)]
        found = answer(
            model_of(batch.model), prompts(batch), decoding,
            requests=requests, sampler=sampler, batch_size=batch.answers, progress=bar.update,
        )  # fmt: skip
        return [a.token_ids for a in sorted(found, key=lambda a: a.index)]


def _native(batch: Batch, progress: Callable[[int], object]) -> list[list[int]]:
    """With transformers' own processors; answers end at the first special token."""
    import torch
    from transformers import SynthIDTextWatermarkingConfig, WatermarkingConfig

    kind = SynthIDTextWatermarkingConfig if batch.mark == "transformers-synthid" else WatermarkingConfig
    lm = model_of(batch.model)
    chats = [lm.chat(prompt) for prompt in prompts(batch)]
    encoded = lm.tokenizer(chats, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        output = lm.model.generate(
            **encoded, do_sample=True, temperature=batch.temperature, top_k=TOP_K, max_new_tokens=batch.tokens,
            watermarking_config=kind(**batch.native()), pad_token_id=lm.tokenizer.pad_token_id,
        )  # fmt: skip
    progress(batch.answers * batch.tokens)
    special, drawn = set(lm.tokenizer.all_special_ids), output[:, encoded.input_ids.shape[1] :].tolist()
    return [ids[: next((i for i, t in enumerate(ids) if t in special), len(ids))] for ids in drawn]


def _entropies(batch: Batch, ids: list[list[int]]) -> list[NDArray[np.float32]]:
    """Of the law after temperature and truncation, by one pass over prompt and answer."""
    import torch

    lm, found = model_of(batch.model), []
    pad = lm.tokenizer.pad_token_id
    starts = [lm.tokenizer(lm.chat(p), add_special_tokens=False).input_ids for p in prompts(batch)]
    both = list(zip(starts, ids, strict=True))
    for rows in (both[i : i + 8] for i in range(0, len(both), 8)):
        longest = max(len(start) + len(own) for start, own in rows)
        # Padding on the right, which nothing before it attends to.
        whole = torch.tensor([[*start, *own] + [pad] * (longest - len(start) - len(own)) for start, own in rows])
        with torch.inference_mode():
            logits = lm.model(whole).logits
            for (start, own), row in zip(rows, logits, strict=True):
                kept = row[len(start) - 1 : len(start) - 1 + len(own)].float().topk(TOP_K).values
                log_p = torch.log_softmax(kept / batch.temperature, dim=-1)
                found.append(-(log_p.exp() * log_p).sum(-1).numpy())
    return found
