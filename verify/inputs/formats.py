"""One record -> its documents, a function per format.

Every record yields at least one document: where there is nothing to read (null content, a failed request, a
conversation without an answer) its text is "", so that the caller counts it.
A record with one response gives its name to the document; of several, the K-th is named `record[K]`, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from verify.errors import InputError, listed, quoted
from verify.inputs.content import record_prompt, text_of
from verify.records import DIGEST, Document, token_ids_of, transcript

Parse = Callable[[object, str], Iterator[Document]]

RESPONSE_FIELDS: Final = ("response", "text", "token_ids")
CONVERSATION_FIELDS: Final = ("conversations", "conversation", "messages")
ASSISTANTS: Final = frozenset({"assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot", "ai", "claude", "gemini"})
OTHERS: Final = frozenset(
    {"user", "human", "system", "developer", "tool", "function", "function_call", "tool_call", "observation"}
    | {"function_response", "tool_response", "prompter", "context"}
)

_DIGEST: Final = re.compile(DIGEST)


def jsonl(record: object, where: str) -> Iterator[Document]:
    """A string, a radiolabel transcript, or an object with `response` (or `text`) or `token_ids`, or both.

    Raises:
        InputError: none of these, or a field of the wrong type.
    """
    if isinstance(record, str):
        yield Document(name=where, text=record)
        return
    if not isinstance(record, dict):
        raise InputError(f"{where}: record is {quoted(record)}, expected an object or a string")
    if "radiolabel" in record:
        transcript(record | {"token_ids": None}, where)  # the ids are checked below
    if not any(field in record for field in RESPONSE_FIELDS):
        raise _unknown(record, where, RESPONSE_FIELDS)
    ids = record.get("token_ids")
    field = "response" if record.get("response") is not None else "text"
    text = record.get(field)
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: {field} is {quoted(text)}, expected a string")
    # Other logs have names of models here, which say nothing about the ids.
    tokenizer = record.get("tokenizer")
    yield Document(
        name=where,
        text="" if text is None and ids is None else text,
        token_ids=None if ids is None else token_ids_of(ids, where),
        prompt=record_prompt(record, where),
        tokenizer=tokenizer if isinstance(tokenizer, str) and _DIGEST.match(tokenizer) else None,
    )


def openai(record: object, where: str) -> Iterator[Document]:
    """A chat completion or a completion, bare, under `response`, or under `response.body` as the batch API writes it.

    Raises:
        InputError: no `choices` and no `error`, or a field of the wrong type.
    """
    if not isinstance(record, dict):
        raise InputError(f"{where}: record is {quoted(record)}, expected an object with 'choices'")
    prompt = record_prompt(record, where)
    completion = _completion(record, where)
    choices = completion.get("choices")
    if choices is None:  # the request failed
        choices = []
    if not isinstance(choices, list):
        raise InputError(f"{where}: choices is {quoted(choices)}, expected a list")
    turns = (prompt,) if prompt else ()
    texts = [_choice(choice, where, f"choices[{i}]") for i, choice in enumerate(choices)]
    yield from _documents([(text, len(turns)) for text in texts], turns, where)


def sharegpt(record: object, where: str) -> Iterator[Document]:
    """A conversation, whose every turn of the assistant is a document that was shown all earlier turns.

    Raises:
        InputError: no conversation, a turn without a speaker, or a speaker who is neither known side.
    """
    if not isinstance(record, dict):
        raise InputError(f"{where}: record is {quoted(record)}, expected an object with 'conversations' or 'messages'")
    field = next((field for field in CONVERSATION_FIELDS if field in record), None)
    if field is None:
        raise _unknown(record, where, CONVERSATION_FIELDS)
    turns = record[field] if record[field] is not None else []
    if not isinstance(turns, list):
        raise InputError(f"{where}: {field} is {quoted(turns)}, expected a list of turns")
    said = [_turn(turn, where, f"{field}[{i}]") for i, turn in enumerate(turns)]
    answers = [(text, number) for number, (answer, text) in enumerate(said) if answer]
    yield from _documents(answers, tuple(text for _, text in said), where)


PARSERS: Final[dict[str, Parse]] = {"jsonl": jsonl, "openai": openai, "sharegpt": sharegpt}


def detect(record: object, where: str) -> str:
    """The format of a file whose first record this is: a key of `PARSERS`.

    Raises:
        InputError: the record has the fields of no format.
    """
    if isinstance(record, str):
        return "jsonl"
    if isinstance(record, dict):
        if "radiolabel" in record:
            return "jsonl"
        failed = "custom_id" in record and all(record.get(field) is None for field in RESPONSE_FIELDS)
        if "choices" in record or isinstance(record.get("response"), dict) or failed:
            return "openai"
        if any(field in record for field in RESPONSE_FIELDS):
            return "jsonl"
        if any(field in record for field in CONVERSATION_FIELDS):
            return "sharegpt"
        raise _unknown(record, where, (*RESPONSE_FIELDS, "choices", *CONVERSATION_FIELDS))
    raise InputError(
        f"{where}: cannot tell the format from {quoted(record)}, expected a record or plain text",
        hint="say which with --input-format text|jsonl|openai|sharegpt",
    )


def _documents(answers: list[tuple[str, int]], turns: tuple[str, ...], where: str) -> Iterator[Document]:
    """A document per (text, number of turns before it), or one without text that was shown all turns."""
    for number, (text, n_shown) in enumerate(answers or [("", len(turns))], start=1):
        name = f"{where}[{number}]" if len(answers) > 1 else where
        yield Document(name=name, text=text, turns=turns, n_shown=n_shown)


def _completion(record: dict[str, Any], where: str) -> dict[str, Any]:
    """The object that holds `choices`, or an empty one if the request failed."""
    body: object = record
    if "choices" not in record and "response" in record:
        response = record["response"]
        body = response.get("body", response) if isinstance(response, dict) else response
    if isinstance(body, dict) and "choices" in body:
        return body
    if body is None or record.get("error") is not None or (isinstance(body, dict) and "error" in body):
        return {}
    raise _unknown(body if isinstance(body, dict) else record, where, ("choices",))


def _choice(choice: object, where: str, field: str) -> str:
    if not isinstance(choice, dict):
        raise InputError(f"{where}: {field} is {quoted(choice)}, expected an object with 'message' or 'text'")
    if "message" in choice:
        message = choice["message"]
        if message is not None and not isinstance(message, dict):
            raise InputError(f"{where}: {field}.message is {quoted(message)}, expected an object with 'content'")
        return text_of((message or {}).get("content"), where, f"{field}.message.content")
    if "text" in choice:
        return text_of(choice["text"], where, f"{field}.text")
    raise InputError(f"{where}: {field} has the fields {listed(list(choice))}, expected 'message' or 'text'")


def _turn(turn: object, where: str, field: str) -> tuple[bool, str]:
    """Whether the assistant speaks, and what is said."""
    if not isinstance(turn, dict):
        raise InputError(f"{where}: {field} is {quoted(turn)}, expected an object with 'from' and 'value'")
    who, what = ("from", "value") if "from" in turn else ("role", "content")
    if who not in turn:
        raise InputError(f"{where}: {field} has the fields {listed(list(turn))}, expected 'from' or 'role'")
    speaker = turn[who].lower() if isinstance(turn[who], str) else None
    if speaker not in ASSISTANTS and speaker not in OTHERS:
        raise InputError(
            f"{where}: {field}.{who} is {quoted(turn[who])}, expected one of {', '.join(sorted(ASSISTANTS | OTHERS))}",
            hint="rename the speaker, so that no answer is taken for a question",
        )
    return speaker in ASSISTANTS, text_of(turn.get(what), where, f"{field}.{what}")


def _unknown(record: dict[str, Any], where: str, known: tuple[str, ...]) -> InputError:
    return InputError(f"{where}: found the fields {listed(list(record))}, expected one of {listed(list(known))}")
