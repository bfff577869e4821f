"""Text out of the shapes that chat logs give it: strings, null, lists of parts, lists of messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from verify.errors import InputError, listed, quoted

MESSAGES: Final = "a string or a list of chat messages"


def text_of(value: object, where: str, field: str) -> str:
    """The text of a string, of null (empty), or of a list of parts joined without a separator.

    Parts that carry no text, such as images, contribute nothing.

    Raises:
        InputError: any other value.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(_part(part, where, f"{field}[{i}]") for i, part in enumerate(value))
    raise InputError(f"{where}: {field} is {quoted(value)}, expected a string, null or a list of parts")


def _part(part: object, where: str, field: str) -> str:
    if isinstance(part, dict):
        part = part.get("text", "")
    if isinstance(part, str):
        return part
    raise InputError(f"{where}: {field} is {quoted(part)}, expected a string or a part with a string as text")


def prompt_text(value: object, where: str, field: str) -> str | None:
    """All text of a prompt, that is a string, null, or a list of chat messages of every role.

    Raises:
        InputError: any other value.
    """
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise InputError(f"{where}: {field} is {quoted(value)}, expected {MESSAGES}")
    return joined(_message(item, where, f"{field}[{i}]") for i, item in enumerate(value))


def _message(item: object, where: str, field: str) -> str:
    if isinstance(item, str):
        return item
    if not isinstance(item, dict):
        raise InputError(f"{where}: {field} is {quoted(item)}, expected a chat message with role and content")
    for key in ("content", "value", "text"):
        if key in item:
            return text_of(item[key], where, f"{field}.{key}")
    if "role" in item or "type" in item:  # a tool call, for one, has no text
        return ""
    raise InputError(f"{where}: {field} has the fields {listed(list(item))}, expected 'role' and 'content'")


def record_prompt(record: dict[str, Any], where: str) -> str | None:
    """What the model saw before the response: `prompt` or `messages`, of the record or of its `request`.

    Raises:
        InputError: such a field holds no prompt.
    """
    request = record.get("request")
    body = request.get("body") if isinstance(request, dict) else None
    for source, path in ((record, ""), (request, "request."), (body, "request.body.")):
        if isinstance(source, dict):
            for key in ("prompt", "messages"):
                if source.get(key) is not None:
                    return prompt_text(source[key], where, path + key)
    return None


def joined(parts: Iterable[str]) -> str:
    """Parts that are not empty, with newlines between."""
    return "\n".join(part for part in parts if part)
