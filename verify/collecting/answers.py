"""The body of a chat completion -> an answer; everything an endpoint sends is hostile input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from verify.decoding import ANY, decode
from verify.errors import InputError
from verify.inputs.content import text_of
from verify.logprobs import EXPECTED, Byte, Candidate, LogProbability, TokenLogprob, check_logprobs

FILTERED: Final = "content_filter"
USAGE: Final = ("prompt_tokens", "completion_tokens")

T = TypeVar("T")


class Unusable(Exception):
    """What came is no answer; the same request may get one."""


class _Token(msgspec.Struct):
    token: str
    logprob: LogProbability
    bytes: tuple[Byte, ...] | None = None
    top_logprobs: tuple[Candidate, ...] | None = None


class _Choice(msgspec.Struct):
    message: dict[str, Any]
    finish_reason: Any = None
    logprobs: dict[str, Any] | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None
    id: Any = None
    model: Any = None
    system_fingerprint: Any = None
    created: Any = None


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered; endpoints differ, and what is of no use but of another type is None.

    Attributes:
        text: "" if there was none.
        finish_reason: as the endpoint said.
        usage: tokens that it counted, by `prompt_tokens` and `completion_tokens`.
        id, model, system_fingerprint, created: of the completion.
        logprobs: of the answer's tokens, or None if there were none.
    """

    text: str
    finish_reason: str | None = None
    usage: dict[str, int] | None = None
    id: str | None = None
    model: str | None = None
    system_fingerprint: str | None = None
    created: int | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None


def answer_of(body: bytes) -> Answer:
    """Read the body of a chat completion; one without a choice is an empty answer.

    Raises:
        Unusable: not JSON, not a chat completion, or log probabilities that are none.
    """
    try:
        completion = msgspec.convert(decode(body, ANY, name="the answer", line=None), _Completion)
        choice = completion.choices[0] if completion.choices else _Choice({})
        text = text_of(choice.message.get("content"), "the answer", "message.content")
        tokens = (choice.logprobs or {}).get("content")
        logprobs = None if tokens is None else _logprobs(tokens)
    except msgspec.ValidationError as error:
        raise Unusable(f"the answer is not a chat completion: {error}") from None
    except InputError as error:
        raise Unusable(error.message) from None
    counts = completion.usage if isinstance(completion.usage, dict) else {}
    usage = {name: n for name in USAGE if (n := _of(int, counts.get(name))) is not None and n >= 0}
    return Answer(
        text=text,
        finish_reason=_of(str, choice.finish_reason),
        usage=usage or None,
        id=_of(str, completion.id),
        model=_of(str, completion.model),
        system_fingerprint=_of(str, completion.system_fingerprint),
        created=_of(int, completion.created),
        logprobs=logprobs,
    )


def error_of(body: bytes) -> tuple[str | None, str | None]:
    """(code, message) of an error's body, None for what it does not have."""
    try:
        record = ANY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None, None
    error = record.get("error", record) if isinstance(record, dict) else None
    if isinstance(error, dict):
        return _of(str, error.get("code")), _of(str, error.get("message"))
    return None, _of(str, error)


def _logprobs(tokens: object) -> tuple[TokenLogprob, ...]:
    try:
        checked = msgspec.convert(tokens, tuple[_Token, ...])
    except msgspec.ValidationError as error:
        raise Unusable(f"logprobs.content: {error}; expected {EXPECTED}") from None
    found = tuple(
        TokenLogprob(token=t.token, bytes=t.bytes, logprob=t.logprob, top=t.top_logprobs or ()) for t in checked
    )
    check_logprobs(found, "the answer")
    return found


def _of(kind: type[T], value: object) -> T | None:
    return value if type(value) is kind else None  # a bool is no int
