"""What a causal language model thinks of given texts: log-likelihoods, and next-token laws at chosen positions.

Symbols: B texts of a batch, P prompt tokens, T text tokens, V vocabulary, k candidates of a row.

A text is scored by `ln p(text | prompt) = sum_t ln p(text[t] | prompt, text[:t])`, in nats, by the model's own
tokenizer and chat template; the token that would end the answer is not part of the text. The softmax is taken in
float32 whatever the model computes in. Rows are padded on the right: under causal attention no token sees the
padding, so a text gets the same numbers in any batch, up to the rounding of the model's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from watermark.engines.models import LanguageModel
from watermark.errors import Error

_Row = tuple[list[int], list[int]]  # ids of the prompt as the model sees it, and of the text


@dataclass(frozen=True, eq=False)
class Laws:
    """Next-token laws inside one text.

    Attributes:
        index: of the text.
        prompt_ids: (S,) uint32, ids of the prompt itself, without the chat template.
        at: (n,) int64, positions t of the text; with `ends` also T, after its last token.
        candidates: (n, k) uint32, the k tokens of the largest max(p, q).
        log_p: (n, k) float32, ln p of each candidate given the prompt and text[:t].
        log_q: (n, k) float32, the same under the reference, or None.
    """

    index: int
    prompt_ids: NDArray[np.uint32]
    at: NDArray[np.int64]
    candidates: NDArray[np.uint32]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32] | None


def log_likelihoods(
    model: LanguageModel, items: Sequence[tuple[str, str]], batch_size: int = 8, *, group: int = 1
) -> list[tuple[float, int]]:
    """How likely each text is, and of how many of the model's tokens it consists.

    Args:
        model: the model.
        items: (prompt, text): one user message, and the answer to score.
        batch_size: texts scored together.
        group: so many consecutive items share a batch, and so are padded alike.

    Returns:
        For each item its log-likelihood in nats and its number of tokens.

    Raises:
        Error: a text too long for the model, or one the model calls impossible.
    """
    rows = [(_prompt_ids(model, prompt), _ids(model, text)) for prompt, text in items]
    _check(model, rows)
    found: dict[int, tuple[float, int]] = {}
    for batch in _batches(rows, batch_size, group):
        for index, log_p in zip(batch, _log_probabilities(model, [rows[i] for i in batch]), strict=True):
            ids = torch.tensor(rows[index][1], dtype=torch.long, device=log_p.device)
            total = float(log_p.gather(1, ids[:, None]).double().sum())
            if not np.isfinite(total):
                raise Error(
                    f"text {index + 1} of {len(items)} has log-likelihood {total} under {model.name[:60]!r}",
                    hint="the model is broken, or computes in a type too narrow for it: try float32",
                )
            found[index] = min(total, 0.0), len(ids)
    return [found[index] for index in range(len(items))]


def predictions(
    model: LanguageModel,
    items: Sequence[tuple[str, Sequence[int]]],
    batch_size: int = 8,
    *,
    reference: LanguageModel | None = None,
    top_k: int = 1024,
    begin: int = 0,
    ends: bool = False,
) -> Iterator[Laws]:
    """The laws of the next token inside each text, batch by batch, the shortest texts first.

    Args:
        model: the suspect, p.
        items: (prompt, token ids of the answer), by a tokenizer that both models share.
        batch_size: texts read together.
        reference: q, or None.
        top_k: candidates to keep of each row; all if the vocabulary is smaller.
        begin: the first position to keep.
        ends: keep the law after the last token too.

    Raises:
        Error: models with different vocabularies, a text too long for a model, or an id that a model does not have.
    """
    models = [model] if reference is None else [model, reference]
    if reference is not None and not same_vocabulary(model, reference):
        raise Error(f"{model.name[:60]!r} and {reference.name[:60]!r} have different vocabularies")
    rows = [[(_prompt_ids(m, prompt), list(ids)) for prompt, ids in items] for m in models]
    for each, its_rows in zip(models, rows, strict=True):
        _check(each, its_rows)
    for batch in _batches(rows[0], batch_size, 1):
        laws = [_log_probabilities(m, [r[i] for i in batch]) for m, r in zip(models, rows, strict=True)]
        for index, *logs in zip(batch, *laws, strict=True):
            width = min(log.shape[1] for log in logs)  # a model may have rows that no token uses
            kept = [log[begin : len(items[index][1]) + ends, :width] for log in logs]
            largest = kept[0] if len(kept) == 1 else torch.maximum(*kept)
            best = largest.topk(min(top_k, width), dim=1).indices
            p, *q = [log.gather(1, best).cpu().numpy() for log in kept]
            yield Laws(
                index=index,
                prompt_ids=np.array(_ids(model, items[index][0]), dtype=np.uint32),
                at=np.arange(begin, begin + len(p), dtype=np.int64),
                candidates=best.cpu().numpy().astype(np.uint32),
                log_p=p,
                log_q=q[0] if q else None,
            )


def same_vocabulary(model: LanguageModel, other: LanguageModel) -> bool:
    """Whether both tokenizers give each id the same token."""
    return bool(model.tokenizer.get_vocab() == other.tokenizer.get_vocab())


def _ids(model: LanguageModel, text: str) -> list[int]:
    return list(model.tokenizer(text, add_special_tokens=False).input_ids)


def _prompt_ids(model: LanguageModel, prompt: str) -> list[int]:
    ids = _ids(model, model.chat(prompt))
    if ids:
        return ids
    tok = model.tokenizer
    start = tok.eos_token_id if tok.bos_token_id is None else tok.bos_token_id
    if start is None:
        raise Error(f"{model.name[:60]!r} has no token to begin a text with", hint="leave empty prompts out")
    return [start]


def _check(model: LanguageModel, rows: Sequence[_Row]) -> None:
    longest = getattr(model.model.config, "max_position_embeddings", None)
    known = model.model.get_input_embeddings().num_embeddings
    for index, (prompt, ids) in enumerate(rows):
        text = f"text {index + 1} of {len(rows)}"
        if longest is not None and len(prompt) + len(ids) > longest:
            raise Error(
                f"{text} has {len(prompt) + len(ids)} tokens with its prompt, and {model.name[:60]!r} reads {longest}",
                hint="leave it out by a rule that does not look at which answer was served",
            )
        if max(ids, default=0) >= known:
            raise Error(f"{text} has token id {max(ids)}, and {model.name[:60]!r} has {known} tokens")


def _batches(rows: Sequence[_Row], batch_size: int, group: int) -> Iterator[list[int]]:
    groups = [range(first, min(first + group, len(rows))) for first in range(0, len(rows), group)]
    groups.sort(key=lambda g: max(len(rows[i][0]) + len(rows[i][1]) for i in g))
    step = max(batch_size // group, 1)
    for first in range(0, len(groups), step):
        yield [i for g in groups[first : first + step] for i in g]


def _log_probabilities(model: LanguageModel, rows: Sequence[_Row]) -> Iterator[Any]:
    """For each row of (prompt, text) ids a (T + 1, V) float32 tensor of ln p."""
    lengths = [len(prompt) + len(ids) for prompt, ids in rows]
    # Logits are needed from the shortest prompt's end on.
    kept = max(lengths) - min(len(prompt) for prompt, _ in rows) + 1
    tokens = torch.full((len(rows), max(lengths)), model.tokenizer.pad_token_id or 0)
    mask = torch.zeros_like(tokens)
    for row, (prompt, ids) in enumerate(rows):
        tokens[row, : lengths[row]] = torch.tensor(prompt + ids)
        mask[row, : lengths[row]] = 1
    device, first = model.model.device, max(lengths) - kept
    with torch.inference_mode():
        logits = model.model(
            input_ids=tokens.to(device), attention_mask=mask.to(device), use_cache=False, logits_to_keep=kept
        ).logits
    for row, (prompt, ids) in enumerate(rows):  # a row at a time: float32 over a vocabulary is large
        begin = len(prompt) - 1 - first
        yield torch.log_softmax(logits[row, begin : begin + len(ids) + 1].float(), dim=-1)
