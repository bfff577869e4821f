"""Fine-tuning a causal language model on chats: how a student is made here.

Loss on the answers only, AdamW without decay, a constant learning rate after a short warm-up, fp32 weights under bf16
autocast, batches of similar length in random order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

WARM_UP_STEPS: Final = 10
BLOCK_BATCHES: Final = 8  # answers are sorted by length within so many batches

Chat = tuple[list[int], list[int]]  # prompt ids, answer ids


@dataclass(frozen=True)
class Training:
    """How a student is trained.

    Attributes:
        epochs: passes over the data.
        learning_rate: of AdamW.
        batch: answers a step.
        seed: of the order.
    """

    epochs: int = 1
    learning_rate: float = 3e-4
    batch: int = 8
    seed: int = 1


def chat_ids(tokenizer: Any, prompt: str) -> list[int]:
    """A question as the chat model sees it, up to where the answer begins."""
    messages = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def finetune(
    model: Any,
    chats: Sequence[Chat],
    training: Training,
    *,
    pad_token_id: int,
    progress: Callable[[int], None] = lambda answers: None,
) -> list[float]:
    """Train a transformers causal model in place.

    Args:
        model: with fp32 weights.
        chats: prompt and answer ids.
        training: how.
        pad_token_id: what fills short rows.
        progress: called with the number of answers of each step.

    Returns:
        The loss of each step, nats per answer token.
    """
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=0.0)
    rng, losses = np.random.default_rng(training.seed), list[float]()
    for _ in range(training.epochs):
        batches = _batches(chats, training.batch, rng)
        for place in rng.permutation(len(batches)):
            ids, mask, labels = padded([chats[i] for i in batches[place]], pad_token_id)
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * min(1.0, (len(losses) + 1) / WARM_UP_STEPS)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                hidden = model.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, :-1]
                answers = labels[:, 1:] != -100
                logits = model.lm_head(hidden[answers])
            loss = torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][answers])
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            progress(len(ids))
    model.eval()
    return losses


def padded(chats: Sequence[Chat], pad: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(B, L) ids, attention mask, and labels (-100 but on answers), padded on the right."""
    length = max(len(prompt) + len(answer) for prompt, answer in chats)
    ids = torch.full((len(chats), length), pad)
    labels = torch.full((len(chats), length), -100)
    mask = torch.zeros((len(chats), length), dtype=torch.long)
    for row, (prompt, answer) in enumerate(chats):
        whole = torch.tensor(prompt + answer)
        ids[row, : len(whole)] = whole
        mask[row, : len(whole)] = 1
        labels[row, len(prompt) : len(whole)] = whole[len(prompt) :]
    return ids, mask, labels


def _batches(chats: Sequence[Chat], batch: int, rng: np.random.Generator) -> list[list[int]]:
    order = rng.permutation(len(chats)).tolist()
    batches = []
    for start in range(0, len(order), BLOCK_BATCHES * batch):
        block = sorted(order[start : start + BLOCK_BATCHES * batch], key=lambda i: sum(map(len, chats[i])))
        batches += [block[place : place + batch] for place in range(0, len(block), batch)]
    return batches
