"""Records in a file: one JSON value per line, one array of values, or one value over several lines.

Which of the three it is follows from the first line that is not blank:

* it begins with `[`: one array, read whole;
* it begins with `{`, and the object does not end in the line: one object, read whole;
* anything else: a value per line, read a line at a time; blank lines are passed over.

A record is named `file:LINE`, or `file#K` for the K-th value of an array, both counted from 1.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from verify.decoding import ANY, ARRAY, decode, is_cut
from verify.errors import InputError, quoted

MAX_LINE_BYTES: Final = 64 << 20
MAX_FILE_BYTES: Final = 1 << 30

_OTHER_ENCODINGS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before utf-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Start:
    """A stream that stands after its first line that is not blank.

    Attributes:
        stream: the rest of the file.
        name: the file, for errors and record names.
        line: the 1-based number of the first line that is not blank.
        first: that line with its end; at most `max_line_bytes` + 1 bytes of it.
        max_line_bytes: the longest line that formats of lines accept, its end included.
        max_file_bytes: the longest file that is read whole.
    """

    stream: BinaryIO
    name: str
    line: int
    first: bytes
    max_line_bytes: int
    max_file_bytes: int

    @property
    def mark(self) -> bytes:
        """The first byte that is not white space."""
        return self.first[:256].lstrip()[:1] or self.first.lstrip()[:1]

    def rest(self) -> bytes:
        """Everything from the first line that is not blank.

        Raises:
            InputError: that is more than `max_file_bytes`.
        """
        data = self.first + self.stream.read(max(self.max_file_bytes - len(self.first), 0) + 1)
        if len(data) > self.max_file_bytes:
            raise InputError(
                f"{self.name}: more than {self.max_file_bytes} bytes in one document or one JSON value, expected less",
                hint="split the text, or convert JSON to JSONL, which is read a line at a time: jq -c '.[]' FILE",
            )
        return data


def start(stream: BinaryIO, name: str, what: str, *, max_line_bytes: int, max_file_bytes: int) -> Start:
    """Pass over a byte order mark and blank lines.

    Args:
        stream: the file.
        name: what errors call it.
        what: what it holds, "document" or "prompt".
        max_line_bytes: see `Start`.
        max_file_bytes: see `Start`.

    Raises:
        InputError: an empty file, only blank lines, or an encoding other than UTF-8.
    """
    line, first = 1, stream.readline(max_line_bytes + 1)
    if not first:
        raise InputError(f"{name}: empty file, expected at least one {what}")
    _refuse_other_encoding(first, name)
    first = first.removeprefix(codecs.BOM_UTF8)
    while not first or first.isspace():
        if len(first) > max_line_bytes:
            raise _too_long(name, line, max_line_bytes)
        line, first = line + 1, stream.readline(max_line_bytes + 1)
        if not first:
            raise InputError(f"{name}: only blank lines, expected at least one {what}")
    return Start(stream, name, line, first, max_line_bytes, max_file_bytes)


def lines(begin: Start) -> Iterator[tuple[int, bytes]]:
    """(1-based number, line with its end) from the first line that is not blank, blank lines included.

    Raises:
        InputError: a line longer than the limit; the rest of it is not read.
    """
    number, line = begin.line, begin.first
    longest, readline = begin.max_line_bytes, begin.stream.readline
    while line:
        if len(line) > longest:
            raise _too_long(begin.name, number, longest)
        yield number, line
        number += 1
        line = readline(longest + 1)


def records(begin: Start) -> Iterator[tuple[str, object]]:
    """(name, decoded JSON value) of every record.

    Raises:
        InputError: something is not JSON, or is over a limit.
    """
    name = begin.name
    if begin.mark == b"[":
        array = decode(begin.rest(), ARRAY, name=name, line=begin.line)
        if not array:
            raise InputError(f"{name}:{begin.line}: empty JSON array, expected at least one record")
        for index, item in enumerate(array, start=1):
            where = f"{name}#{index}"
            yield where, decode(item, ANY, name=where, line=None)
    elif begin.mark == b"{" and len(begin.first) <= begin.max_line_bytes and is_cut(begin.first):
        yield f"{name}:{begin.line}", decode(begin.rest(), ANY, name=name, line=begin.line)
    else:
        yield from values(begin)


def values(begin: Start) -> Iterator[tuple[str, object]]:
    """(name, decoded JSON value) of every line that is not blank.

    Raises:
        InputError: a line is not JSON, or is over the limit.
    """
    for number, line in lines(begin):
        if not line.isspace():
            yield f"{begin.name}:{number}", decode(line, ANY, name=begin.name, line=number)


def whole_text(begin: Start) -> str:
    """The file as text from its first line that is not blank, with CRLF turned into LF.

    Raises:
        InputError: not UTF-8, NUL bytes, or over the limit.
    """
    data = begin.rest()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        at, wrong = (
            error.start,
            f"byte {quoted(data[error.start : error.start + 1])} at offset {{}} is not utf-8",
        )
    else:
        at, wrong = data.find(b"\0"), "NUL byte at offset {}"
        if at < 0:
            return text.replace("\r\n", "\n")
    line = begin.line + data.count(b"\n", 0, at)
    offset = at - (data.rfind(b"\n", 0, at) + 1)
    raise InputError(f"{begin.name}:{line}: {wrong.format(offset)}, expected plain utf-8 text")


def _too_long(name: str, line: int, longest: int) -> InputError:
    return InputError(
        f"{name}:{line}: line is longer than {longest} bytes, expected one record per line",
        hint="is this the right file? a long text is a document of its own with --input-format text",
    )


def _refuse_other_encoding(first: bytes, name: str) -> None:
    encoding = next((encoding for mark, encoding in _OTHER_ENCODINGS if first.startswith(mark)), None)
    # Without a mark: text in utf-16 begins with a byte and a NUL, in either order.
    if len(first) > 1 and (first[0] == 0) != (first[1] == 0):
        encoding = encoding or "utf-16"
    if encoding is not None:
        raise InputError(
            f"{name}:1: begins with {quoted(first[:4])}, which looks like {encoding}, expected utf-8",
            hint=f"iconv -f {encoding} -t utf-8 FILE",
        )
