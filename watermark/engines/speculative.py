"""Speculative decoding with a keyed target, one sequence, on a transformers model.

A draft guesses k tokens; the target reads them in one pass and draws at each position in turn, until a draw differs
from its guess. The draw is a function of keys and the past alone, so the answer is the one without a draft, and the
mark is whole. What is accepted is a guess that equals the draw: for a greedy or n-gram draft that has, over random
keys, the probability that the target gives to the guess, as when the target samples plainly. (Where the draft samples
independently of the key, the usual test min(1, p/q) would do better than equality: such drafts are not offered here.)

transformers' own assisted decoding and prompt lookup ask a processor about positions they do not take, with logits
that are not the model's; they are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from watermark.errors import Error

Draw = Callable[[NDArray[np.float32]], int]
Draft = Callable[[Sequence[int]], list[int]]


@dataclass(frozen=True)
class Speculated:
    """One answer, and what the draft saved.

    Attributes:
        tokens: drawn, the end token included.
        passes: of the target.
        guessed: tokens the draft proposed that a draw was compared with.
        accepted: of these, equal to the draw.
    """

    tokens: list[int]
    passes: int
    guessed: int
    accepted: int


def no_draft(ids: Sequence[int]) -> list[int]:
    """Plain decoding: one pass per token."""
    return []


@dataclass(frozen=True)
class NgramDraft:
    """What followed the same last tokens before, in the prompt or the answer.

    Attributes:
        order: longest match that is looked for.
        length: tokens to guess.
    """

    order: int = 3
    length: int = 4

    def __call__(self, ids: Sequence[int]) -> list[int]:
        """Guess from all ids so far, the latest match of the longest kind."""
        ids = list(ids)
        for order in range(min(self.order, len(ids) - 1), 0, -1):
            last = ids[-order:]
            for start in range(len(ids) - order - 1, -1, -1):
                if ids[start : start + order] == last:
                    return ids[start + order : start + order + self.length]
        return []


@dataclass(frozen=True)
class GreedyDraft:
    """The likeliest tokens under another model.

    Attributes:
        model: a transformers model with the target's vocabulary.
        length: tokens to guess.
    """

    model: Any
    length: int = 4

    @torch.inference_mode()
    def __call__(self, ids: Sequence[int]) -> list[int]:
        """Guess from all ids so far."""
        cache, feed, guess = DynamicCache(config=self.model.config), list(ids), []
        for _ in range(self.length):
            logits = self.model(
                input_ids=torch.tensor([feed], device=self.model.device), past_key_values=cache, logits_to_keep=1
            ).logits
            feed = [int(logits[0, -1].argmax())]
            guess += feed
        return guess


@torch.inference_mode()
def decode(
    model: Any,
    prompt: Sequence[int],
    draw: Draw,
    *,
    draft: Draft = no_draft,
    warp: Callable[[torch.Tensor], torch.Tensor] = lambda scores: scores,
    end_token_ids: Sequence[int] = (),
    max_tokens: int,
) -> Speculated:
    """Decode one answer.

    Args:
        model: the target, a transformers model with a cache that can be cropped.
        prompt: its ids.
        draw: (V,) logits -> token, which it also records: `lambda row: int(sampler.draw([response], row[None])[0])`.
        draft: all ids so far -> guesses.
        warp: temperature and truncation on (n, V) float32.
        end_token_ids: tokens that end an answer.
        max_tokens: of the answer.

    Raises:
        Error: an empty prompt.
    """
    if not len(prompt):
        raise Error("the prompt is empty, expected at least one token")
    ids, first = list(prompt), len(prompt)
    cache, read = DynamicCache(config=model.config), 0
    passes = guessed = accepted = 0
    while len(ids) - first < max_tokens:
        guess = draft(ids)[: max_tokens - (len(ids) - first) - 1]
        feed = torch.tensor([ids[read:] + guess], device=model.device)
        logits = model(input_ids=feed, past_key_values=cache, use_cache=True, logits_to_keep=len(guess) + 1).logits
        rows = warp(logits[0].float()).cpu().numpy()
        passes += 1
        for row, guessed_token in zip(rows, [*guess, None], strict=True):
            ids.append(draw(row))
            guessed += guessed_token is not None
            hit = ids[-1] == guessed_token
            accepted += hit
            if ids[-1] in end_token_ids:
                return Speculated(ids[first:], passes, guessed, accepted)
            if not hit:
                break
        read = len(ids) - 1  # the last token was drawn and not yet read
        cache.crop(read - cache.get_seq_length())
    return Speculated(ids[first:], passes, guessed, accepted)
