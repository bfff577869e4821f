"""What an answer depends on, where a collection stops, and what it counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


def digest_of(texts: Sequence[str]) -> str:
    """SHA-256 of the texts as a JSON array: "sha256:" and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an answer depends on; None is the endpoint's own default, and is not sent.

    Attributes:
        base_url: checked by `verify.collecting.endpoint.base_url`.
        model: as the endpoint calls it.
        prompts: digest of the prompts.
        system: the system message.
        max_tokens: of an answer.
        temperature, top_p: of sampling.
        logprobs: how many of the likeliest tokens to ask for at each place; 0 asks for the token's own alone.
    """

    base_url: str
    model: str
    prompts: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    logprobs: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON fields, without those that are not set; the system message as its digest."""
        record = {name: value for name, value in asdict(self).items() if value is not None}
        if self.system is not None:
            record["system"] = digest_of([self.system])
        return record

    def body(self) -> dict[str, Any]:
        """Of a request, without its messages."""
        names = ("model", "max_tokens", "temperature", "top_p")
        body: dict[str, Any] = {name: value for name in names if (value := getattr(self, name)) is not None}
        if self.logprobs is not None:
            body |= {"logprobs": True} | ({"top_logprobs": self.logprobs} if self.logprobs else {})
        return body


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Where to stop.

    Attributes:
        concurrency: requests in flight.
        retries: of one prompt, after the first try.
        backoff: seconds before the first retry, at most; twice as many before each further one.
        timeout: seconds for one request and its answer.
        max_requests: for the whole file, retries included.
        token_budget: completion tokens of the whole file; requests in flight when it is met still add theirs.
    """

    concurrency: int = 4
    retries: int = 5
    backoff: float = 1.0
    timeout: float = 120.0
    max_requests: int | None = None
    token_budget: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What a file holds and a run did.

    Attributes:
        n_answers: in the file, empty ones included.
        n_before: of those, from earlier runs.
        n_empty: without text, and not filtered.
        n_filtered: cut or withheld by a content filter.
        n_without_logprobs: with text, and without the log probabilities that were asked for.
        n_requests: sent, retries included; of an earlier run those until its last answer.
        n_retries: sent again in this run.
        n_given_up: prompts of this run that stay without an answer.
        completion_tokens: as the endpoint counts; of an answer that it did not count, the bytes: no fewer.
        last_error: why the last prompt was given up.
        stopped: "done", "enough" (the e-process), "requests" or "tokens" (a budget).
    """

    n_answers: int = 0
    n_before: int = 0
    n_empty: int = 0
    n_filtered: int = 0
    n_without_logprobs: int = 0
    n_requests: int = 0
    n_retries: int = 0
    n_given_up: int = 0
    completion_tokens: int = 0
    last_error: str | None = None
    stopped: str = "done"
