"""The mark in SGLang (tested with 0.5.23): a sampler backend.

An operator sets RADIOLABEL_KEYS and RADIOLABEL_MODE (see `watermark.serving.settings`) and starts the server with

    --sampling-backend radiolabel

SGLang finds `plugin` in the entry-point group `sglang.srt.plugins` and runs it in each of its processes.
A request carries its ticket in `custom_params: {"radiolabel": "rl1..."}`. The API server checks it (HTTP 400); the
first tensor-parallel rank finds the keys and draws after SGLang's own truncation; the others take its tokens.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import time
from collections import Counter
from functools import cache
from typing import Any, Final

import torch
from sglang.srt.layers.dp_attention import is_dp_attention_enabled
from sglang.srt.layers.sampler import (
    Sampler,
    _SamplingMaskCapture,
    register_sampler_backend,
    sampling_from_probs_torch,
    top_k_top_p_min_p_sampling_from_probs_torch,
)
from sglang.srt.plugins.hook_registry import HookRegistry, HookType
from sglang.srt.runtime_context import get_parallel, get_server_args
from sglang.srt.sampling.sampling_batch_info import SamplingBatchInfo

from watermark.engines.draw import draw
from watermark.engines.rows import QUEUE, Asked, Desk, Drawing
from watermark.engines.sglang_answers import Answers
from watermark.engines.tensors import candidates
from watermark.errors import Error, Refused, SettingsError
from watermark.serving.metrics import Silent
from watermark.serving.service import Service
from watermark.serving.settings import CONFIG, Settings
from watermark.windows import MAX_ID

FIELD: Final = "radiolabel"
BACKEND: Final = "radiolabel"
_SAMPLING: Final = "sglang.srt.sampling"
_log = logging.getLogger("sglang.radiolabel")


def plugin() -> None:
    """What SGLang runs from entry-point group `sglang.srt.plugins`, before it reads its command line."""
    register_sampler_backend(BACKEND, Radiolabel)
    if _is_off():
        _log.info("radiolabel is installed and not switched on: nothing is marked")
        return
    HookRegistry.register(f"{_SAMPLING}.sampling_batch_info.SamplingBatchInfo", BatchInfo, HookType.REPLACE)
    HookRegistry.register(f"{_SAMPLING}.sampling_params.SamplingParams.verify", check_request, HookType.AFTER)
    HookRegistry.register("sglang.srt.layers.sampler.create_sampler", check_sampler, HookType.AFTER)


def check_request(_: None, params: Any, *__: Any) -> None:
    """After `SamplingParams.verify` in the API server: refuse what the sampler would refuse.

    Raises:
        ValueError: HTTP 400.
    """
    ticket, door, now = _ticket(params), _door(), time.time()
    try:
        if (params.beam_width or 1) > 1:
            raise Refused("beam search cannot bear the mark", reason="beam_search")
        door.admission.check(ticket, now=now)
        door.admission.check(ticket, now=now - QUEUE)  # the sampler's clock
    except Refused as error:
        raise ValueError(str(error)) from None


def check_sampler(sampler: Any, *_: Any) -> None:
    """After `create_sampler`: the operator switched the mark on, and SGLang is about to draw without it.

    Raises:
        SettingsError: another backend was chosen.
    """
    if not isinstance(sampler, Radiolabel):
        raise SettingsError(
            "RADIOLABEL settings are there, and another sampling backend is chosen",
            hint=f"start the server with --sampling-backend {BACKEND}, or without the settings",
        )


@dataclasses.dataclass
class BatchInfo(SamplingBatchInfo):
    """SGLang's, which also knows the requests of its rows. SGLang drops `custom_params` of requests as these.

    Attributes:
        requests: one per row.
    """

    requests: list[Any] | None = None

    def adjusted_from_schedule_batch(self, batch: Any, vocab_size: int) -> None:
        """SGLang's hook for a new batch."""
        super().adjusted_from_schedule_batch(batch, vocab_size)
        self.requests = list(batch.reqs)

    def adjusted_merge_batch(self, other: Any) -> None:
        """SGLang's hook: the rows of `other` come after these. A new list: one that is being drawn stays."""
        super().adjusted_merge_batch(other)
        if self.requests is not None:
            self.requests = self.requests + other.requests

    def adjusted_filter_batch(self, keep_indices: list[int], keep_indices_device: torch.Tensor) -> None:
        """SGLang's hook: only these rows stay."""
        super().adjusted_filter_batch(keep_indices, keep_indices_device)
        if self.requests is not None:
            self.requests = [self.requests[index] for index in keep_indices]


class Radiolabel(Sampler):
    """SGLang's sampler with the draw replaced. Greedy batches, temperature and logprobs stay SGLang's.

    Raises:
        Error: settings, keys or engine options under which nothing may be served.
    """

    def __init__(self) -> None:
        super().__init__()
        settings, parallel = Settings.load(), get_parallel()
        check_engine(get_server_args())
        self._group = parallel.attn_tp_group if is_dp_attention_enabled() else parallel.tp_group
        self._step: _Step | None = None
        self._answers: Answers | None = None
        if self._group.rank_in_group:
            return
        rank = (parallel.dp_rank or 0) * parallel.attn_dp_size + parallel.attn_dp_rank
        ranks = parallel.dp_size * parallel.attn_dp_size  # one of the two is 1
        if settings.metrics_port:
            settings = dataclasses.replace(settings, metrics_port=settings.metrics_port + rank)
        self._service = Service.start(settings)
        if settings.mode == "default-on":
            self._service.admission.check(None)  # an anonymous epoch or slot that does not exist
        self._tally: Counter[str] = Counter()
        desk = Desk(self._service, salt=secrets.token_hex(8), rank=rank, ranks=ranks)
        self._answers = Answers(desk, self._tally, _asked)
        _log.info("radiolabel marks: mode %s, epochs %s", settings.mode, ", ".join(self._service.keyring.epochs()))

    def forward(
        self, logits_output: Any, sampling_info: Any, return_logprob: bool, *args: Any, **options: Any
    ) -> torch.Tensor:
        """The tokens of a batch: see SGLang's.

        Raises:
            Error: the requests of the rows are not known, or SGLang drew by itself; or, in strict mode, a token is
                not known. SGLang ends on it.
        """
        positions = args[2] if len(args) > 2 else options["positions"]
        self._step = self._begin(sampling_info, positions) if self._answers is not None else None
        tokens: torch.Tensor = super().forward(logits_output, sampling_info, return_logprob, *args, **options)
        if self._step is not None and self._step.left:
            raise Error("this SGLang drew by itself", hint="use the version this plugin was tested with: 0.5.23")
        self._step = None
        return tokens

    def _begin(self, info: Any, positions: torch.Tensor) -> _Step:
        assert self._answers is not None
        requests = getattr(info, "requests", None)
        if requests is None or len(requests) != len(positions):
            raise Error("SGLang does not show the requests of the rows: its hook for this plugin is not in place")
        lengths = [p + 1 - len(r.origin_input_ids) for r, p in zip(requests, positions.tolist(), strict=True)]
        drawing = self._answers.follow(list(zip(requests, lengths, strict=True)), now=time.time())
        if self._tally:
            self._service.metrics.tokens(self._tally)
            self._tally.clear()
        if drawing.placeholders:
            self._service.metrics.placeholders(drawing.placeholders)
            if self._service.settings.strict:
                raise Error(f"tokens of {drawing.placeholders} answers were drawn elsewhere: their windows are unknown")
        return _Step(requests, lengths, drawing, any(row.response is not None for _, row in drawing.rows))

    def _sample_from_probs(
        self, probs: torch.Tensor, sampling_info: Any, positions: torch.Tensor, simple_sampling_case: bool
    ) -> tuple[torch.Tensor, Any]:
        """(B,) tokens of a batch that is not greedy, from (B, V) probabilities after temperature, before truncation."""
        if probs.shape[1] > MAX_ID + 1:
            raise Error(f"the vocabulary has more than {MAX_ID + 1} tokens")
        i, ids = sampling_info, None
        if simple_sampling_case:
            weights, tokens = probs, sampling_from_probs_torch(probs, i.sampling_seed, positions)
        else:  # what SGLang's `pytorch` backend keeps, as weights in descending order
            tokens, weights, ids, _ = top_k_top_p_min_p_sampling_from_probs_torch(
                probs,
                i.top_ks,
                i.top_ps,
                i.min_ps,
                i.need_min_p_sampling,
                i.sampling_seed,
                positions,
                return_filtered_probs=True,
            )
        if self._step is not None:
            self._draw(self._step, weights, ids, tokens)
        at = i.sampling_mask_batch_indices
        if at is None:
            return tokens, None
        return tokens, _SamplingMaskCapture(weights[at], None if ids is None else ids[at], None, at)

    def _draw(self, step: _Step, weights: torch.Tensor, ids: torch.Tensor | None, tokens: torch.Tensor) -> None:
        """Put the marked rows' tokens in place of SGLang's."""
        rows = [(index, row) for index, row in step.drawing.rows if row.response is not None]
        step.left = False
        if not rows:
            return
        begin = time.perf_counter()
        indices = [index for index, _ in rows]
        logits = weights[indices].float().log()
        if ids is not None:
            logits = torch.full_like(logits, -torch.inf).scatter_(1, ids[indices].long(), logits)
        drawn = draw([row for _, row in rows], candidates(logits))
        tokens[indices] = torch.tensor(drawn, dtype=tokens.dtype, device=tokens.device)
        self._service.metrics.drawn(time.perf_counter() - begin)

    def _sync_token_ids_across_tp(self, batch_next_token_ids: torch.Tensor, sampling_info: Any) -> None:
        """All ranks take the first one's tokens, always: SGLang's minimum over ranks would not be the draw."""
        tokens, step = batch_next_token_ids, self._step
        if step is not None:
            for index, row in step.drawing.rows:
                if row.status == "forced":  # refused
                    tokens[index] = row.asked.end
        if self._group.world_size > 1:
            torch.distributed.broadcast(tokens, src=self._group.ranks[0], group=self._group.device_group)
        if step is not None and self._answers is not None:
            layout = zip(step.requests, step.lengths, tokens.tolist(), strict=True)
            self._answers.drew((request, token) for request, length, token in layout if length >= 0)


@dataclasses.dataclass
class _Step:
    """One call of `forward`.

    Attributes:
        requests: the rows' requests.
        lengths: how many tokens their answers hold; see `Answers.follow`.
        drawing: whose tokens are known.
        left: whether marked rows are left to draw.
    """

    requests: list[Any]
    lengths: list[int]
    drawing: Drawing
    left: bool


def check_engine(args: Any) -> None:
    """Refuse to start where answers would silently go without the mark.

    Args:
        args: SGLang's `ServerArgs`.

    Raises:
        SettingsError: the engine's options do not go with the mark.
    """
    for name, off, what in (
        ("speculative_algorithm", None, "speculative decoding draws elsewhere"),
        ("dllm_algorithm", None, "diffusion models draw elsewhere"),
        ("enable_watermark", False, "SGLang's own watermark cannot mark what this plugin draws"),
        ("disaggregation_mode", "null", "an answer would be drawn by two servers that do not know of each other"),
        ("rl_on_policy_target", None, "SGLang draws by itself there"),
        ("attn_cp_size", 1, "context-parallel ranks would not agree on tokens"),
    ):
        if (found := getattr(args, name)) != off:
            raise SettingsError(f"{name} is {str(found)[:60]!r}: {what}", hint="turn it off")


def _is_off() -> bool:
    """Whether the operator set nothing at all: SGLang loads every plugin that is installed, wanted or not."""
    return not any(os.environ.get(name) for name in (CONFIG, "RADIOLABEL_KEYS", "RADIOLABEL_MODE"))


def _ticket(params: Any) -> str | None:
    """What the request carries; anything but a string is as bad as a bad ticket."""
    extra = params.custom_params or {}
    if FIELD not in extra:
        return None
    ticket = extra[FIELD]
    return ticket if isinstance(ticket, str) else ""


def _asked(request: Any) -> Asked:
    params = request.sampling_params
    ends = params.stop_token_ids or request.eos_token_ids or ()
    return Asked(ticket=_ticket(params), greedy=params.top_k <= 1, rule=None, end=min(ends, default=0))


@cache
def _door() -> Service:
    """Settings and keys of an API server's process. The sampler tries the keys and counts."""
    return Service.start(dataclasses.replace(Settings.load(), self_test=False), metrics=Silent())
