"""What people really have (text, JSONL, chat logs) -> documents, a record at a time.

How `auto` decides, from the first line that is not blank and the first record:

1. it begins with `[`, `{` or `"`: JSON, and then by the first record:
   a string, a `radiolabel` field, or `response`, `text` or `token_ids`: `jsonl`;
   `choices`, `custom_id`, or an object as `response`: `openai`;
   `conversations`, `conversation` or `messages`: `sharegpt`;
2. it is another JSON value, such as a number: refused, for it may be text or a record;
3. anything else: `text`, one document.

The format of the first record is the format of the file.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import msgspec

from verify.decoding import ANY, is_cut
from verify.errors import InputError, quoted
from verify.inputs.containers import MAX_FILE_BYTES, MAX_LINE_BYTES, Start, records, start, whole_text
from verify.inputs.formats import PARSERS, detect
from verify.inputs.prompts import prompts_of, with_prompts
from verify.inputs.streams import display_name, open_stream
from verify.records import Document

FORMATS: Final = ("auto", "text", *PARSERS)

_OBJECT: Final = re.compile(rb"\{\s*\"|^\s*[\[{]\s*$")  # also where the first line ends after the bracket
_TOUCHING: Final = re.compile(rb"\}\s*\{")

__all__ = ["FORMATS", "MAX_FILE_BYTES", "MAX_LINE_BYTES", "open_documents", "read_prompts"]


def open_documents(
    path: str,
    *,
    format: str = "auto",
    prompts: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> Iterator[Document]:
    """The documents of a file, in order; nothing is opened before the first is asked for.

    Every response is yielded: one with nothing to read has "" as its text, for the caller to count.

    Args:
        path: a file, or "-" for standard input; gzip and zstd are recognized.
        format: one of `FORMATS`.
        prompts: a file with one prompt per response, in the same order.
        max_line_bytes: the longest line, its end included, in formats of lines.
        max_file_bytes: the longest file, decompressed, that has to be read whole: text, and JSON that is not JSONL.

    Raises:
        InputError: unreadable or malformed input; nothing else.
    """
    if format not in FORMATS:
        raise InputError(f"format is {quoted(format)}, expected one of {', '.join(FORMATS)}")
    if path == prompts == "-":
        raise InputError("responses and prompts are both '-', expected standard input for one of them")
    with ExitStack() as stack:
        stack.enter_context(_memory_as_input_error(path))

        def begin(path: str, what: str) -> Start:
            stream = stack.enter_context(open_stream(path))
            name = display_name(path)
            return start(stream, name, what, max_line_bytes=max_line_bytes, max_file_bytes=max_file_bytes)

        documents = _documents(begin(path, "document"), format)
        if prompts is not None:
            documents = with_prompts(documents, prompts_of(begin(prompts, "prompt")), display_name(prompts))
        yield from documents


def read_prompts(path: str) -> list[str]:
    """The prompts of a file (or "-" for standard input) to be asked, blank ones left out.

    Raises:
        InputError: unreadable or malformed input, or no prompt in it.
    """
    with _memory_as_input_error(path), open_stream(path) as stream:
        begin = start(
            stream, display_name(path), "prompt", max_line_bytes=MAX_LINE_BYTES, max_file_bytes=MAX_FILE_BYTES
        )
        found = [prompt for _, prompt in prompts_of(begin) if prompt.strip()]
    if not found:
        raise InputError(f"{display_name(path)}: no prompt, expected one a line")
    return found


@contextmanager
def _memory_as_input_error(path: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise InputError(
            f"{display_name(path)}: does not fit in memory, expected records or a text that do",
            hint="JSONL is read a line at a time: jq -c '.[]' FILE; a long text may be cut into several files",
        ) from None


def _documents(begin: Start, format: str) -> Iterator[Document]:
    if format == "text" or (format == "auto" and _is_text(begin)):
        yield Document(name=begin.name, text=whole_text(begin))
        return
    found = records(begin)
    try:
        first = next(found)
    except InputError as error:
        raise InputError(error.message, hint=error.hint or _hint(begin, format)) from None
    if format == "auto":
        where, record = first
        format = detect(record, where)
    parse = PARSERS[format]
    for where, record in itertools.chain([first], found):
        yield from parse(record, where)


def _hint(begin: Start, format: str) -> str | None:
    """What to do about a first record that is not JSON."""
    if begin.mark == b"{" and (_TOUCHING.search(begin.first) or is_cut(begin.first)):
        return "JSON objects over several lines, or several on one, become one a line with: jq -c . FILE"
    if format == "auto" and not _OBJECT.search(begin.first):
        why = f"read as JSON because it begins with {quoted(begin.mark.decode())}"
        return f"{why}; plain text needs --input-format text"
    return None


def _is_text(begin: Start) -> bool:
    if begin.mark in (b"[", b"{", b'"'):
        return False
    try:
        ANY.decode(begin.first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return True
    return False
