"""The mark in Hugging Face transformers (5.x), after temperature and truncation.

    config = RadiolabelConfig.for_model(model, Sampler(epoch), [Request("r1"), Request("r2")])
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


def end_token_ids(model: Any) -> list[int]:
    """The tokens that end an answer, by the model's own generation configuration."""
    end = model.generation_config.eos_token_id
    return [end] if isinstance(end, int) else list(end or [])


class RadiolabelConfig(BaseWatermarkingConfig):
    """What `generate(watermarking_config=...)` takes.

    Args:
        sampler: the epoch's sampler.
        requests: one per row of the batch, in order.
        end_token_ids: tokens that end an answer.
        pad_token_id: what `generate` writes into rows that have ended.
    """

    def __init__(
        self, sampler: Sampler, requests: Sequence[Request], *, end_token_ids: Sequence[int], pad_token_id: int
    ) -> None:
        self.sampler = sampler
        self.requests = list(requests)
        self.end_token_ids = frozenset(end_token_ids)
        self.pad_token_id = pad_token_id
        self.processor: RadiolabelLogitsProcessor | None = None

    @classmethod
    def for_model(cls, model: Any, sampler: Sampler, requests: Sequence[Request]) -> RadiolabelConfig:
        """With the end and padding tokens of the model's own generation configuration."""
        end_ids = end_token_ids(model)
        pad = model.generation_config.pad_token_id
        if pad is None and not end_ids:
            raise Error("the model's generation_config has neither pad_token_id nor eos_token_id", hint="set one")
        return cls(sampler, requests, end_token_ids=end_ids, pad_token_id=end_ids[0] if pad is None else pad)

    def validate(self) -> None:
        """Refuse a batch in which two answers would share their randomness."""
        if len({request.id for request in self.requests}) != len(self.requests):
            raise Error("two rows have the same request id", hint="give every answer an id of its own")

    def construct_processor(self, vocab_size: int, device: Any) -> RadiolabelLogitsProcessor:
        """Called once by `generate`."""
        self.validate()
        if self.processor is not None:
            raise Error(
                "this configuration was used before: its answers would share their randomness",
                hint="make a new RadiolabelConfig with new request ids for every generate call",
            )
        self.processor = RadiolabelLogitsProcessor(
            self.sampler, [self.sampler.start(r) for r in self.requests], self.end_token_ids, self.pad_token_id
        )
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
        end_token_ids: tokens that end an answer.
        pad_token_id: what the engine writes into rows that have ended.
    """

    def __init__(
        self, sampler: Sampler, responses: list[Response], end_token_ids: frozenset[int], pad_token_id: int
    ) -> None:
        self.sampler = sampler
        self.responses = responses
        self._end_token_ids = end_token_ids
        self._pad_token_id = pad_token_id
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

        Raises:
            Error: the engine took another token than the one drawn, and not because the row had ended.
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
            if not fate or length == taken.shape[1]:
                continue
            if taken[row, length] == token:
                response.take(token, fate)
                if token in self._end_token_ids:
                    self._open.discard(row)
            elif taken[row, length] == self._pad_token_id:  # ended by a stop string or another criterion
                self._open.discard(row)
            else:
                raise Error(
                    f"row {row} took token {taken[row, length]} where {token} was drawn",
                    hint="assisted decoding and prompt lookup are not supported",
                )
