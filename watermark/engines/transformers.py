"""The mark in Hugging Face transformers (5.x), after temperature and truncation.

    marked = generate(model, Sampler(epoch), [Request("r1"), Request("r2")], **inputs, do_sample=True)
    marked.output, marked.responses

or, where the call to the model's own `generate` is somebody else's,

    config = RadiolabelConfig.for_model(model, Sampler(epoch), [Request("r1"), Request("r2")])
    output = model.generate(**inputs, do_sample=True, watermarking_config=config)
    config.finish(output)

One config serves one call. transformers builds the processor of a config also for greedy decoding and does not tell it:
only `generate` here sees `do_sample=False`, takes the likeliest tokens and counts them; a caller with a config of its
own says `greedy=True`. Beam search reorders rows; assisted decoding and prompt lookup ask for draws that they do not
take (`watermark.engines.speculative` can do that): refused.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from transformers.generation import BaseWatermarkingConfig, LogitsProcessor

from watermark.errors import Error
from watermark.sampling import Request, Response, Sampler


def end_token_ids(model: Any) -> list[int]:
    """The tokens that end an answer, by the model's own generation configuration."""
    end = model.generation_config.eos_token_id
    return [end] if isinstance(end, int) else list(end or [])


_SUPPORTED: Final = ("sample", "greedy_search")  # of transformers' generation modes


@dataclass(frozen=True)
class Marked:
    """What `generate` made.

    Attributes:
        output: what the model's own `generate` returned.
        responses: one per row, with its tokens and their fates.
    """

    output: Any
    responses: list[Response]


def generate(model: Any, sampler: Sampler, requests: Sequence[Request], **options: Any) -> Marked:
    """`model.generate(**options)` with marked answers.

    Args:
        model: the transformers model.
        sampler: the epoch's sampler.
        requests: one per answer: per row, or per row and `num_return_sequences`.
        **options: as `model.generate` takes them.

    Raises:
        Error: a way of decoding that is neither sampling nor greedy, or as many rows as there are no requests.
    """
    mode = _mode(model, options)
    if mode not in _SUPPORTED or options.get("custom_generate") is not None:
        raise Error(
            f"generation mode {mode!r} cannot be marked, expected one of {', '.join(_SUPPORTED)}",
            hint="speculative decoding has a loop of its own: watermark.engines.speculative",
        )
    config = RadiolabelConfig.for_model(model, sampler, requests, greedy=mode == "greedy_search")
    output = model.generate(**options, watermarking_config=config)
    return Marked(output, config.finish(output if isinstance(output, torch.Tensor) else output.sequences))


def _mode(model: Any, options: dict[str, Any]) -> str:
    """How `model.generate(**options)` would decode: its arguments, then its configuration, then the model's."""
    options, effective = dict(options), copy.deepcopy(model.generation_config)
    given = options.pop("generation_config", None)
    for name, value in (given.to_dict() if given is not None else {}).items():
        if value is not None:
            setattr(effective, name, value)
    effective.update(**options)
    return str(effective.get_generation_mode(options.get("assistant_model")).value)


class RadiolabelConfig(BaseWatermarkingConfig):
    """What `generate(watermarking_config=...)` takes.

    Args:
        sampler: the epoch's sampler.
        requests: one per row of the batch, in order.
        end_token_ids: tokens that end an answer.
        pad_token_id: what `generate` writes into rows that have ended.
        greedy: the call has `do_sample=False`: nothing is marked, every token is counted as `greedy`.
    """

    def __init__(
        self,
        sampler: Sampler,
        requests: Sequence[Request],
        *,
        end_token_ids: Sequence[int],
        pad_token_id: int,
        greedy: bool = False,
    ) -> None:
        self.sampler = sampler
        self.requests = list(requests)
        self.end_token_ids = frozenset(end_token_ids)
        self.pad_token_id = pad_token_id
        self.greedy = greedy
        self.processor: RadiolabelLogitsProcessor | None = None

    @classmethod
    def for_model(
        cls, model: Any, sampler: Sampler, requests: Sequence[Request], *, greedy: bool = False
    ) -> RadiolabelConfig:
        """With the end and padding tokens of the model's own generation configuration."""
        end_ids = end_token_ids(model)
        pad = model.generation_config.pad_token_id
        if pad is None and not end_ids:
            raise Error("the model's generation_config has neither pad_token_id nor eos_token_id", hint="set one")
        pad = end_ids[0] if pad is None else pad
        return cls(sampler, requests, end_token_ids=end_ids, pad_token_id=pad, greedy=greedy)

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
                hint="make a new RadiolabelConfig for every generate call; an assistant model cannot have it too",
            )
        self.processor = RadiolabelLogitsProcessor(
            self.sampler,
            [self.sampler.start(r) for r in self.requests],
            end_token_ids=self.end_token_ids,
            pad_token_id=self.pad_token_id,
            greedy=self.greedy,
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
        greedy: only watch and count: the engine takes the likeliest token.
    """

    def __init__(
        self,
        sampler: Sampler,
        responses: list[Response],
        *,
        end_token_ids: frozenset[int],
        pad_token_id: int,
        greedy: bool = False,
    ) -> None:
        self.sampler = sampler
        self.responses = responses
        self._end_token_ids = end_token_ids
        self._pad_token_id = pad_token_id
        self._greedy = greedy
        self._seen: torch.Tensor | None = None
        self._pending: dict[int, tuple[int, str]] = {}
        self._open = set(range(len(responses)))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """(B, P + T) ids so far and (B, V) scores in, (B, V) one-hot scores out."""
        if len(input_ids) != len(self.responses):
            raise Error(
                f"{len(input_ids)} rows are decoded for {len(self.responses)} requests",
                hint="beam search is not supported; for num_return_sequences give one request per answer",
            )
        if self._seen is not None and self._seen.shape == input_ids.shape:
            raise Error(
                f"position {input_ids.shape[1]} was asked for twice",
                hint="assisted decoding and prompt lookup are not supported: see watermark.engines.speculative",
            )
        self.follow(input_ids)
        self._seen = input_ids.clone()
        rows = sorted(self._open)
        if self._greedy:
            best = scores.argmax(dim=-1).tolist()
            self._pending = {row: (best[row], "greedy") for row in rows}
            return scores
        one_hot = torch.full_like(scores, -torch.inf)
        one_hot[:, 0] = 0.0
        if rows:
            some = scores if len(rows) == len(scores) else scores[rows]  # without a copy where all go on
            drawn = self.sampler.propose([self.responses[row] for row in rows], some.float().cpu().numpy())
            self._pending = dict(zip(rows, drawn, strict=True))
            one_hot[rows, 0] = -torch.inf
            one_hot[rows, [token for token, _ in drawn]] = 0.0
        return one_hot

    def follow(self, sequences: torch.Tensor) -> None:
        """Record the tokens that the engine took since the last call.

        Raises:
            Error: the engine took another token than the one drawn, and not because the row had ended.
        """
        if self._seen is None:
            return
        width = self._seen.shape[1]
        before = sequences[:, :width]
        if before.shape != self._seen.shape or not torch.equal(before, self._seen):
            changed = [r for r in range(len(before)) if before.shape[1] < width or (before[r] != self._seen[r]).any()]
            raise Error(
                f"row {changed[0]} no longer continues the answer that was drawn for it",
                hint="beam search and contrastive search reorder rows and are not supported",
            )
        if sequences.shape[1] == width:
            return
        taken = sequences[:, width].tolist()
        for row, (token, fate) in self._pending.items():
            if taken[row] == token:
                self.responses[row].take(token, fate)
                if token in self._end_token_ids:
                    self._open.discard(row)
            elif taken[row] == self._pad_token_id:  # ended by a stop string or another criterion
                self._open.discard(row)
            else:
                raise Error(
                    f"row {row} took token {taken[row]} where {token} was drawn",
                    hint="assisted decoding and prompt lookup are not supported: see watermark.engines.speculative",
                )
        self._pending = {}
