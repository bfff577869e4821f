"""A file of prompts beside a file of responses, matched by order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from verify.decoding import ANY, is_cut
from verify.errors import InputError, listed, quoted
from verify.inputs.containers import Start, lines, records, values
from verify.inputs.content import joined, prompt_text
from verify.records import Document

_RECORD: Final = "a string, a list of chat messages or an object with 'prompt'"
_UNDECODED: Final = object()


def prompts_of(begin: Start) -> Iterator[tuple[str, str]]:
    """(name, prompt) of every prompt.

    Which of the three it is follows from the first line that is not blank:

    * a string, a list of chat messages or an object with `prompt`: such a JSON value per line; blank lines are passed
      over. One object over several lines is one prompt;
    * another list, or a list that does not end in the line: one array of such values;
    * not JSON: plain text, from that line on a prompt per line, and a blank one is an empty prompt.

    Raises:
        InputError: not UTF-8, a line over the limit, no prompt in a record, or a first line that is another JSON
            value and may be either.
    """
    first = _first_value(begin)
    if isinstance(first, list) and all(isinstance(item, dict) and "prompt" not in item for item in first):
        found = values(begin)
    elif isinstance(first, (str, list, dict)) or begin.mark == b"{" or (begin.mark == b"[" and is_cut(begin.first)):
        found = records(begin)
    elif first is _UNDECODED:
        yield from _text_lines(begin)
        return
    else:
        raise InputError(
            f"{begin.name}:{begin.line}: cannot tell whether {quoted(first)} is text, expected {_RECORD} or plain text",
            hint="write each prompt as a JSON string on its line: jq -R . FILE",
        )
    for where, record in found:
        yield where, _prompt(record, where)


def _text_lines(begin: Start) -> Iterator[tuple[str, str]]:
    for number, line in lines(begin):
        where = f"{begin.name}:{number}"
        try:
            yield where, line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            wrong = quoted(line[error.start : error.start + 1])
            raise InputError(
                f"{where}: byte {wrong} at offset {error.start} is not utf-8, expected plain utf-8 text"
            ) from None


def with_prompts(documents: Iterator[Document], prompts: Iterator[tuple[str, str]], names: str) -> Iterator[Document]:
    """Each document with the prompt at its place; a prompt of its own comes after it, and its turns stay.

    Args:
        documents: in file order.
        prompts: (name, prompt), one for each document.
        names: the file of prompts, for errors.

    Raises:
        InputError: there are more of the ones than of the others.
    """
    count = 0
    for document in documents:
        pair = next(prompts, None)
        if pair is None:
            raise InputError(
                f"{names}: {count} prompts, and {document.name} is response {count + 1}, expected one per response"
            )
        count += 1
        prompt = joined([pair[1], document.prompt or ""])
        yield msgspec.structs.replace(document, prompt=prompt)
    pair = next(prompts, None)
    if pair is not None:
        raise InputError(f"{pair[0]}: prompt {count + 1}, and there are {count} responses, expected one per response")


def _first_value(begin: Start) -> object:
    try:
        return ANY.decode(begin.first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _UNDECODED


def _prompt(record: object, where: str) -> str:
    if isinstance(record, dict):
        if "prompt" not in record:
            raise InputError(
                f"{where}: found the fields {listed(list(record))}, expected 'prompt'",
                hint="each list of chat messages goes on a line of its own: jq -c . FILE" if "role" in record else None,
            )
        record = record["prompt"]
    elif not isinstance(record, (str, list)):
        raise InputError(f"{where}: record is {quoted(record)}, expected {_RECORD}")
    return prompt_text(record, where, "prompt") or ""
