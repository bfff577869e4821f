"""The mark in Hugging Face transformers (5.x), after temperature and truncation.

    config = RadiolabelConfig(Sampler(epoch), [Request("r1"), Request("r2")])
    output = model.generate(**inputs, do_sample=True, watermarking_config=config)
    config.finish(output)

One config serves one `generate` call. Greedy decoding (`do_sample=False`) has nothing to mark: do not pass a config.
Beam search reorders rows and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.generation import BaseWatermarkingConfig, LogitsProcessor

from watermark.errors import Error
from watermark.sampling import Request, Response, Sampler


class RadiolabelConfig(BaseWatermarkingConfig):
    """What `generate(watermarking_config=...)` takes.

    Args:
        sampler: the epoch's sampler.
        requests: one per row of the batch, in order.
    """

    def __init__(self, sampler: Sampler, requests: Sequence[Request]) -> None:
        self.sampler = sampler
        self.requests = list(requests)
        self.processor: RadiolabelLogitsProcessor | None = None

    def validate(self) -> None:
        """Refuse a batch in which two answers would share their randomness."""
        if len({request.id for request in self.requests}) != len(self.requests):
            raise Error("two rows have the same request id", hint="give every answer an id of its own")

    def construct_processor(self, vocab_size: int, device: Any) -> RadiolabelLogitsProcessor:
        """Called once by `generate`."""
        self.validate()
        self.processor = RadiolabelLogitsProcessor(self.sampler, [self.sampler.start(r) for r in self.requests])
        return self.processor

    def finish(self, sequences: torch.Tensor) -> list[Response]:
        """The answers as they ended.

        Args:
            sequences: what `generate` returned, (B, P + T).
        """
        if self.processor is None:
            raise Error("finish was called before generate")
        self.processor.follow(sequences)
        return self.processor.responses

    def to_dict(self) -> dict[str, Any]:
        """What may be printed or saved: never a key."""
        return {"watermarking_type": "radiolabel", "epoch_key_id": self.sampler.epoch.id}

    def to_json_string(self) -> str:
        """See `to_dict`."""
        return str(self.to_dict()) + "\n"

    def __iter__(self) -> Any:
        return iter(self.to_dict().items())

    def __deepcopy__(self, memo: dict[int, Any]) -> RadiolabelConfig:
        # generate() copies its configuration; the caller must still reach the processor, and keys are not copied.
        return self


class RadiolabelLogitsProcessor(LogitsProcessor):
    """Turns each row into a one-hot row of the token that the reference sampler draws.

    Args:
        sampler: the epoch's sampler.
        responses: one per row.
    """

    def __init__(self, sampler: Sampler, responses: list[Response]) -> None:
        self.sampler = sampler
        self.responses = responses
        self._prompt_length: int | None = None
        self._pending: dict[int, tuple[int, str]] = {}
        self._open = set(range(len(responses)))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, P + T) ids so far and (B, V) scores in, (B, V) one-hot scores out."""
        if len(input_ids) != len(self.responses):
            raise Error(
                f"{len(input_ids)} rows are decoded for {len(self.responses)} requests",
                hint="beam search is not supported; for num_return_sequences give one request per answer",
            )
        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
        self.follow(input_ids)
        rows = sorted(self._open)
        one_hot = torch.full_like(scores, -torch.inf)
        one_hot[:, 0] = 0.0
        if rows:
            logits = scores[rows].float().cpu().numpy()
            drawn = self.sampler.propose([self.responses[row] for row in rows], logits)
            self._pending = dict(zip(rows, drawn, strict=True))
            one_hot[rows, 0] = -torch.inf
            one_hot[rows, [token for token, _ in drawn]] = 0.0
        return one_hot

    def follow(self, sequences: torch.Tensor) -> None:
        """Record the tokens that the engine took since the last call.

        A row whose drawn token was not taken has ended: generate() pads it from there on.
        """
        taken = sequences[:, self._prompt_length :].cpu().numpy()
        for row in sorted(self._open):
            response, length = self.responses[row], len(self.responses[row].tracker.tokens)
            if not np.array_equal(taken[row, :length], response.tracker.tokens):
                raise Error(
                    f"row {row} no longer continues the answer that was drawn for it",
                    hint="beam search and contrastive search reorder rows and are not supported",
                )
            token, fate = self._pending.pop(row, (-1, ""))
            if length < taken.shape[1] and taken[row, length] == token:
                response.take(token, fate)
            elif fate:
                self._open.discard(row)
