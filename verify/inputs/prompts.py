"""A file of prompts beside a file of responses, matched by order."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from verify.decoding import ANY, decode
from verify.errors import InputError, listed, quoted
from verify.inputs.containers import Start, lines
from verify.inputs.content import joined, prompt_text
from verify.records import Document


def prompts_of(begin: Start) -> Iterator[tuple[str, str]]:
    """(name, prompt) of every prompt.

    JSONL if the first line that is not blank begins with `{` or is a JSON string: a string, or an object with
    `prompt`, per line; blank lines are passed over.
    Plain text otherwise: from that line on every line is a prompt, and a blank one is an empty prompt.

    Raises:
        InputError: not UTF-8, a line over the limit, or no prompt in a record.
    """
    as_json = begin.mark == b"{" or (begin.mark == b'"' and _is_json(begin.first))
    for number, line in lines(begin):
        where = f"{begin.name}:{number}"
        if as_json:
            if not line.isspace():
                yield where, _prompt(decode(line, ANY, name=begin.name, line=number), where)
            continue
        try:
            yield where, line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            wrong = quoted(line[error.start : error.start + 1])
            raise InputError(
                f"{where}: byte {wrong} at offset {error.start} is not utf-8, expected plain utf-8 text"
            ) from None


def with_prompts(documents: Iterator[Document], prompts: Iterator[tuple[str, str]], names: str) -> Iterator[Document]:
    """Each document with the prompt at its place; a prompt of its own comes after it, as a later turn would.

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


def _is_json(line: bytes) -> bool:
    try:
        ANY.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _prompt(record: object, where: str) -> str:
    if isinstance(record, dict):
        if "prompt" not in record:
            raise InputError(f"{where}: found the fields {listed(list(record))}, expected 'prompt'")
        record = record["prompt"]
    elif not isinstance(record, str):
        raise InputError(f"{where}: record is {quoted(record)}, expected a string or an object with 'prompt'")
    return prompt_text(record, where, "prompt") or ""
