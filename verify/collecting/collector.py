"""What is asked, how often, and until when.

A number names one question: prompt `number % P` of P, asked for the `number // P + 1`-th time.
Answers are kept, and the e-process is run, in the order they come: it depends on the endpoint and never on scores.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from secrets import SystemRandom
from typing import Final

import msgspec

from verify.collecting.answers import FILTERED, Answer
from verify.collecting.endpoint import Endpoint, Transient, holds, open_endpoint
from verify.collecting.journal import Journal, Meta
from verify.collecting.settings import Limits, Settings, Tally
from verify.errors import InputError, Refused
from verify.inputs.content import joined
from verify.ordering import Ordering
from verify.records import Transcript
from watermark.secret import Secret

MAX_BACKOFF: Final = 60.0  # seconds
MAX_RETRY_AFTER: Final = 600.0  # seconds; an endpoint that asks for more is left alone
MOST_IN_A_ROW: Final = 8  # prompts given up without an answer between them: the endpoint is down


class Collector:
    """Asks the questions that a journal has no answer to."""

    def __init__(
        self,
        prompts: Sequence[str],
        repeat: int,
        settings: Settings,
        limits: Limits,
        journal: Journal,
        *,
        key: Secret | None = None,
        ordering: Ordering | None = None,
        enough: Callable[[Transcript], bool] = lambda record: False,
        progress: Callable[[Tally], None] = lambda tally: None,
    ) -> None:
        """Read what the journal has.

        Args:
            prompts: P prompts.
            repeat: how often each is asked.
            settings: what the answers depend on.
            limits: where to stop.
            journal: open, and not yet replayed.
            key: of the endpoint.
            ordering: of a plan. Every question is then answered in its turn: one without an answer ends the run.
            enough: called with each answer in file order; True stops the collection.
            progress: called after each answer.

        Raises:
            InputError: see `Journal.replay`.
            Refused: see `Journal.replay`.
        """
        self._prompts, self._settings, self._limits, self._journal = prompts, settings, limits, journal
        self._key, self._ordering, self._enough, self._progress = key, ordering, enough, progress
        self._stop = asyncio.Event()
        self._given_up_in_a_row = 0
        self.tally = Tally()
        for record, meta in journal.replay():
            self._count(record, meta)
            self.tally = replace(self.tally, n_requests=meta.requests)
        self.tally = replace(self.tally, n_before=self.tally.n_answers)
        self._numbers = range(len(prompts) * repeat)
        asked = self._numbers if ordering is None else ordering.order(len(self._numbers))
        self._open = (number for number in asked if number not in journal.numbers)

    async def run(self) -> Tally:
        """Ask until all is answered, a budget is met, or it is enough.

        Raises:
            InputError: the endpoint refuses, or gives no answer to many prompts in a row.
            Refused: an answer that holds the endpoint's key.
        """
        limits, body = self._limits, self._settings.body()
        async with open_endpoint(
            self._settings.base_url, body, self._key, timeout=limits.timeout, connections=limits.concurrency
        ) as endpoint:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(limits.concurrency):
                        group.create_task(self._work(endpoint))
            except BaseExceptionGroup as errors:
                raise errors.exceptions[0] from None
        if self._journal.numbers.issuperset(self._numbers) and self.tally.stopped != "enough":
            self.tally = replace(self.tally, stopped="done")  # a budget that was met by the last answer
        return self.tally

    async def _work(self, endpoint: Endpoint) -> None:
        while self._may_ask() and (number := next(self._open, None)) is not None:
            answer = await self._ask(endpoint, number)
            if answer is not None:
                self._keep(number, answer)

    def _may_ask(self) -> bool:
        """Whether one more request may be sent now."""
        limits, tally = self._limits, self.tally
        if not self._stop.is_set():
            for reason, limit, spent in (
                ("requests", limits.max_requests, tally.n_requests),
                ("tokens", limits.token_budget, tally.completion_tokens),
            ):
                if limit is not None and spent >= limit:
                    self._finish(reason)
        return not self._stop.is_set()

    def _finish(self, reason: str) -> None:
        self.tally = replace(self.tally, stopped=reason)
        self._stop.set()

    async def _ask(self, endpoint: Endpoint, number: int) -> Answer | None:
        """An answer, or None if the prompt was given up or the collection stopped."""
        for tries in range(1, self._limits.retries + 2):
            if not self._may_ask():
                return None
            self.tally = replace(
                self.tally, n_requests=self.tally.n_requests + 1, n_retries=self.tally.n_retries + (tries > 1)
            )
            try:
                answer = await endpoint.ask(self._messages(number))
            except Transient as error:
                reason = error
            except InputError as error:
                where = f"prompt {number % len(self._prompts) + 1}"
                raise InputError(f"{where}: {error.message}", hint=error.hint) from None
            else:
                self._given_up_in_a_row = 0
                return answer
            if tries <= self._limits.retries:
                await self._pause(reason, tries)
        self.tally = replace(self.tally, n_given_up=self.tally.n_given_up + 1, last_error=str(reason))
        self._given_up_in_a_row += 1
        most = MOST_IN_A_ROW if self._ordering is None else 1
        if self._given_up_in_a_row >= most:
            raise InputError(
                f"{endpoint.url} gave no answer to {most} prompts in a row, the last time: {reason}",
                hint="the answers so far are kept: run the same command again to continue",
            )
        return None

    async def _pause(self, reason: Transient, tries: int) -> None:
        """Wait before the next try, with full jitter; cut short when the collection stops."""
        wait = SystemRandom().uniform(0, min(self._limits.backoff * 2 ** (tries - 1), MAX_BACKOFF))
        if reason.after is not None:
            if reason.after > MAX_RETRY_AFTER:
                raise InputError(
                    f"the endpoint asks to wait {reason.after:.6g} seconds, expected at most {MAX_RETRY_AFTER:.0f}",
                    hint="the answers so far are kept: run the same command again later",
                )
            wait += reason.after
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), wait)

    def _messages(self, number: int) -> list[dict[str, str]]:
        system = self._settings.system
        asked = {"role": "user", "content": self._prompts[number % len(self._prompts)]}
        return [asked] if system is None else [{"role": "system", "content": system}, asked]

    def _keep(self, number: int, answer: Answer) -> None:
        meta = Meta(
            settings=self._journal.settings,
            requests=self.tally.n_requests,
            nonce=None if self._ordering is None else self._ordering.nonce(number),
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            system_fingerprint=answer.system_fingerprint,
            created=answer.created,
            id=answer.id,
        )
        record = Transcript(
            id=str(number),
            prompt=joined(message["content"] for message in self._messages(number)),
            response=answer.text,
            model=answer.model or self._settings.model,
            logprobs=answer.logprobs,
            meta=msgspec.to_builtins(meta),
        )
        if holds(self._key, record.to_json()):
            raise Refused("the endpoint sent its key back in an answer, expected text: the answer was not kept")
        self._journal.append(record)
        self._count(record, meta)
        self._progress(self.tally)

    def _count(self, record: Transcript, meta: Meta) -> None:
        tally, filtered = self.tally, meta.finish_reason == FILTERED
        wanted = self._settings.logprobs is not None and record.response != ""
        tokens = (meta.usage or {}).get("completion_tokens", len(record.response.encode()))
        self.tally = replace(
            tally,
            n_answers=tally.n_answers + 1,
            n_empty=tally.n_empty + (not record.response and not filtered),
            n_filtered=tally.n_filtered + filtered,
            n_without_logprobs=tally.n_without_logprobs + (wanted and record.logprobs is None),
            completion_tokens=tally.completion_tokens + tokens,
        )
        if self._enough(record) and not self._stop.is_set():
            self._finish("enough")
