"""The mark in vLLM (tested with 0.32): one plugin for the V1 interface and for Model Runner V2.

An operator sets RADIOLABEL_KEYS and RADIOLABEL_MODE (see `watermark.serving.settings`) and starts the server with

    --logits-processors watermark.engines.vllm:Radiolabel

The entry point alone loads the plugin too, once one of them or RADIOLABEL_CONFIG is set, but see docs/engines.md:
named on the command line, vLLM refuses what would leave the mark out (speculative decoding), and shows real tokens
under asynchronous scheduling.

A request carries its ticket in `vllm_xargs: {"radiolabel": "rl1..."}`. The API server checks it (`validate_params`,
HTTP 400); the worker finds the keys, truncates as vLLM does, draws, and leaves a row that only one token can come from.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import secrets
import time
import weakref
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch
from vllm.exceptions import VLLMValidationError
from vllm.v1.sample.logits_processor.interface import LogitsProcessor, MoveDirectionality
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcessor as LogitsProcessorV2
from vllm.v1.worker.gpu.sample.logits_processor.interface import LogitsProcRequestState

from watermark.engines.draw import draw
from watermark.engines.rows import QUEUE, Asked, Batch, Desk, Drawing
from watermark.engines.vllm_slots import Slots
from watermark.engines.vllm_truncation import Rule, temper, truncate
from watermark.errors import Error, Refused, SettingsError
from watermark.serving.metrics import Silent
from watermark.serving.service import Service
from watermark.serving.settings import CONFIG, Settings
from watermark.windows import MAX_ID

FIELD: Final = "radiolabel"
GREEDY: Final = 1e-5  # vllm.v1.sample.sampler._SAMPLING_EPS: below this, vLLM takes the likeliest token
PEAK: Final = 1e6  # exp of a difference of a few hundred is 0 in float32
NAME: Final = "watermark.engines.vllm:Radiolabel"
_log = logging.getLogger("vllm.radiolabel")  # below the logger that vLLM shows


class Radiolabel(LogitsProcessor, LogitsProcessorV2):
    """What vLLM loads from entry-point group `vllm.logits_processors`, or from `--logits-processors`.

    Args:
        vllm_config: vLLM's.
        where: the device (V1 interface), or the state of the request slots (V2).
        is_pin_memory: V1 only.

    Raises:
        Error: settings, keys or engine options under which nothing may be served.
    """

    _first: Any = None  # weak reference to the plugin that draws, see __init__

    def __init__(self, vllm_config: Any, where: Any, is_pin_memory: bool | None = None) -> None:
        # vLLM builds what is both named on the command line and installed as an entry point twice.
        first = Radiolabel._first and Radiolabel._first()
        self._config = vllm_config
        self._idle = first is not None and first._config is vllm_config
        if not self._idle and _is_off() and not _is_named(vllm_config):
            _log.info("radiolabel is installed and not switched on: nothing is marked")
            self._idle = True
        if self._idle:
            return
        settings = Settings.load()
        slots = where if isinstance(where, LogitsProcRequestState) else None
        check_engine(vllm_config, settings, v2=slots is not None)
        parallel = vllm_config.parallel_config
        rank, ranks = parallel.data_parallel_rank, parallel.data_parallel_size
        agree, leads = _agreement(parallel)
        if settings.metrics_port:
            settings = dataclasses.replace(settings, metrics_port=settings.metrics_port + rank)
        self._service = Service.start(settings, metrics=None if leads else Silent())
        if settings.mode == "default-on":
            self._service.admission.check(None)  # an anonymous epoch or slot that does not exist
        self._vocabulary = vllm_config.model_config.get_vocab_size()
        self._end = _end_token(vllm_config.model_config)
        self._tally: Counter[str] = Counter()
        salt = agree(secrets.token_hex(8))
        desk = Desk(self._service, salt=salt, rank=rank, ranks=ranks, agree=agree, leads=leads)
        self._batch = Batch(desk, self._tally)
        self._states = slots
        self._slots = Slots(desk, self._tally, self._read)
        self._entering: list[tuple[int, Asked]] = []
        Radiolabel._first = weakref.ref(self)
        _log.info("radiolabel marks: mode %s, epochs %s", settings.mode, ", ".join(self._service.keyring.epochs()))

    # At the door: in the API server's process.

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Refuse a request that the worker would refuse.

        Raises:
            VLLMValidationError: HTTP 400.
        """
        if _is_off():
            return
        ticket, door, now = _ticket(sampling_params), _door(), time.time()
        try:
            door.admission.check(ticket, now=now)
            door.admission.check(ticket, now=now - QUEUE)  # the worker's clock
        except Refused as error:
            raise VLLMValidationError(str(error), parameter=FIELD) from None

    # V1: a persistent batch, and lists of tokens that the engine writes to.

    def is_argmax_invariant(self) -> bool:
        """True: vLLM calls `apply` after temperature and min-p, and not for greedy requests."""
        return True

    def update_state(self, batch_update: Any) -> None:
        """V1: rows that left, entered or moved since the last step."""
        if self._idle:
            return
        if batch_update is not None:
            self._batch.update(
                removed=batch_update.removed,
                added=[(index, self._asked(params), tokens) for index, params, _, tokens in batch_update.added],
                moved=[(a, b, how is MoveDirectionality.SWAP) for a, b, how in batch_update.moved],
                now=time.time(),
            )
        self._count()

    # V2: request slots, and tokens on the device.

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """V2: a request enters a slot. True: `apply` runs also for rows that are only counted."""
        if not self._idle:
            self._entering.append((req_idx, self._asked(sampling_params)))
        return not self._idle

    def apply_staged_writes(self) -> None:
        """V2: the tokens of those that entered can be read from here on."""
        if self._idle:
            return
        now = time.time()
        for slot, asked in self._entering:
            assert self._states is not None
            length = int(self._states.prefill_len.np[slot]) - int(self._states.prompt_len.np[slot])
            self._slots.add(slot, asked, self._read(slot, length), now=now)
        self._entering.clear()
        self._count()

    def _read(self, slot: int, length: int) -> list[int]:
        assert self._states is not None
        begin = int(self._states.prompt_len.np[slot])
        tokens: list[int] = self._states.all_token_ids.gpu[slot, begin : begin + length].tolist()
        return tokens

    def _follow_slots(self, ctx: Any) -> Drawing:
        assert self._states is not None
        prompts, prefills = self._states.prompt_len.np, self._states.prefill_len.np
        layout = torch.stack([t.long() for t in (ctx.expanded_idx_mapping, ctx.pos, ctx.input_ids)]).tolist()
        return self._slots.follow(
            (slot, position + 1 - int(prompts[slot]) if position + 1 >= prefills[slot] else -1, token)
            for slot, position, token in zip(*layout, strict=True)
        )

    # The draw.

    def apply(self, logits: torch.Tensor, ctx: Any = None) -> torch.Tensor:
        """Turn each marked row into one that only the token which the reference sampler draws can come from.

        Args:
            logits: (B, V) float32; V1: after temperature and min-p; V2: before.
            ctx: V2 only: which row is whose.

        Raises:
            Error: a token that vLLM does not know yet, in strict mode. vLLM ends the engine on it.
        """
        if self._idle:
            return logits
        begin = time.perf_counter()
        drawing = self._batch.follow() if ctx is None else self._follow_slots(ctx)
        if drawing.placeholders:
            self._placeholders(drawing.placeholders)
        rows = [(index, row) for index, row in drawing.rows if row.response is not None]
        only = {index: row.asked.end for index, row in drawing.rows if row.status == "forced"}
        if rows:
            indices = [index for index, _ in rows]
            part = logits if len(rows) == len(logits) else logits[indices]
            rules = [row.asked.rule for _, row in rows]
            if ctx is not None:
                part = temper(part, rules)
            found = truncate(part, rules)
            drawn = draw([row for _, row in rows], found)
            raised = dict(zip(indices, drawn, strict=True))
            # vLLM truncates again. It sorts faster where there is nothing left, and without top-p finds the k largest
            # faster where there is. NaN, and what stands near the peak, is emptied.
            small = all(row.logits.max(initial=0) <= PEAK / 8 for row in found)
            if not small or any(rule.top_p < 1 for rule in rules):
                only |= raised
            else:
                logits[indices, drawn] = PEAK
        if only:
            logits[list(only)] = -torch.inf
            logits[list(only), list(only.values())] = 0.0
        if rows or only:
            self._service.metrics.drawn(time.perf_counter() - begin)
        return logits

    def _placeholders(self, count: int) -> None:
        self._service.metrics.placeholders(count)
        if self._service.settings.strict:
            raise Error(
                f"vLLM shows a placeholder instead of a token in {count} answers: their windows are not known",
                hint=f"start the server with --logits-processors {NAME}, or with --no-async-scheduling",
            )

    def _count(self) -> None:
        if self._tally:
            self._service.metrics.tokens(self._tally)
            self._tally.clear()

    def _asked(self, params: Any) -> Asked:
        return Asked(
            ticket=_ticket(params),
            greedy=params.temperature < GREEDY,
            rule=Rule.of(params, self._vocabulary),
            end=min(params.all_stop_token_ids, default=self._end),
        )


def check_engine(vllm_config: Any, settings: Settings, *, v2: bool) -> None:
    """Refuse to start where answers would silently go without the mark.

    Args:
        vllm_config: vLLM's.
        settings: the operator's.
        v2: whether Model Runner V2 loads the plugin.

    Raises:
        SettingsError: the engine's options and the operator's settings do not go together.
    """
    named = _is_named(vllm_config)
    if vllm_config.speculative_config is not None:
        raise SettingsError("speculative decoding is on, and this plugin does not mark drafts", hint="turn it off")
    if settings.strict and vllm_config.scheduler_config.async_scheduling and not v2 and not named:
        raise SettingsError(
            "under asynchronous scheduling vLLM shows placeholders to plugins that are only installed",
            hint=f"start the server with --logits-processors {NAME}, or with --no-async-scheduling",
        )
    if getattr(vllm_config, "watermark_config", None) is not None:
        raise SettingsError(
            "vLLM's own watermark is on, and cannot mark what this plugin draws", hint="turn one of them off"
        )
    if vllm_config.parallel_config.pipeline_parallel_size > 1:
        raise SettingsError("pipeline parallelism is on, and this plugin was never tried with it", hint="turn it off")
    if vllm_config.model_config.get_vocab_size() > MAX_ID + 1:
        raise SettingsError(f"the vocabulary has more than {MAX_ID + 1} tokens")


def _is_off() -> bool:
    """Whether the operator set nothing at all: vLLM loads every plugin that is installed, wanted or not."""
    return not any(os.environ.get(name) for name in (CONFIG, "RADIOLABEL_KEYS", "RADIOLABEL_MODE"))


def _is_named(vllm_config: Any) -> bool:
    return bool(vllm_config.model_config.logits_processors)


def _ticket(params: Any) -> str | None:
    """What the request carries; anything but a string is as bad as a bad ticket."""
    extra = params.extra_args or {}
    if FIELD not in extra:
        return None
    ticket = extra[FIELD]
    return ticket if isinstance(ticket, str) else ""


@cache
def _door() -> Service:
    """Settings and keys of an API server's process. The worker tries the keys and counts."""
    return Service.start(dataclasses.replace(Settings.load(), self_test=False), metrics=Silent())


def _agreement(parallel: Any) -> tuple[Callable[[Any], Any], bool]:
    """What gives all tensor-parallel ranks the first one's decisions, and whether this process is the one that decides.

    All ranks draw, each for itself, and vLLM takes the first one's tokens.
    """
    if parallel.world_size == 1:
        return lambda decision: decision, True
    from vllm.distributed.parallel_state import get_tp_group

    group = get_tp_group()
    return lambda decision: group.broadcast_object(decision, src=0), group.rank_in_group == 0


def _end_token(model_config: Any) -> int:
    end = getattr(model_config.hf_text_config, "eos_token_id", None)
    return int(end[0] if isinstance(end, list) and end else end if isinstance(end, int) else 0)
