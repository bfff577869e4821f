"""A file of one JSON object per line, as the program's own formats are written."""

from __future__ import annotations

from collections.abc import Iterator

from verify.inputs.containers import MAX_FILE_BYTES, MAX_LINE_BYTES, start, values
from verify.inputs.streams import display_name, open_stream
from verify.records import Transcript, transcript


def read_lines(path: str, what: str) -> Iterator[tuple[str, object]]:
    """(name, decoded JSON value) of every line that is not blank; nothing is opened before the first is asked for.

    Args:
        path: a file, or "-" for standard input; gzip and zstd are recognized.
        what: what a line holds, for errors.

    Raises:
        InputError: unreadable or malformed input.
    """
    name = display_name(path)
    with open_stream(path) as stream:
        yield from values(start(stream, name, what, max_line_bytes=MAX_LINE_BYTES, max_file_bytes=MAX_FILE_BYTES))


def read_transcripts(path: str) -> Iterator[tuple[str, Transcript]]:
    """(name, transcript) of every line; see `read_lines`."""
    for where, record in read_lines(path, "transcript"):
        yield where, transcript(record, where)
