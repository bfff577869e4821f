"""Bytes of a file or of standard input, decompressed, with every failure an InputError.

gzip and zstd are known by their magic bytes, never by the file's name.
Memory stays bounded whatever a compressed file expands to: at most about 64 MiB of output waits at a time.
"""

from __future__ import annotations

import gzip
import io
import itertools
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Final

from verify.decoding import printable
from verify.errors import InputError
from verify.inputs.places import open_place

CHUNK: Final = 1 << 18  # bytes per read
GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"  # RFC 8878, section 3.1.1
BZIP2_BLOCK: Final = b"1AY&SY"  # after a digit; text may begin with BZh
OTHER_MAGIC: Final = (
    (b"BZh", "bzip2", "bunzip2 -k FILE"),
    (b"\xfd7zXZ\0", "xz", "unxz -k FILE"),
    (b"PK\3\4", "zip", "unzip FILE"),
    (b"PAR1\x15", "parquet", "radiolabel verify reads FILE; to convert it: pandas.read_parquet(FILE).to_json"),
)
# Compressed bytes per step: an RLE block is 4 bytes for up to 128 KiB (RFC 8878, section 3.1.1.2), so 64 MiB per step.
ZSTD_STEP: Final = 1 << 11


def display_name(path: str) -> str:
    """How errors and documents name the file."""
    return "<stdin>" if path == "-" else printable(path)


@contextmanager
def open_stream(path: str) -> Iterator[io.BufferedReader]:
    """The decompressed bytes of `path`, or of standard input for "-".

    Raises:
        InputError: the file cannot be opened; also from later reads, when reading or decompressing fails.
    """
    name = display_name(path)
    with ExitStack() as stack:
        file: IO[bytes] = sys.stdin.buffer if path == "-" else stack.enter_context(open_place(path))
        chunks = _read(file, name)
        head = b""
        for chunk in chunks:
            head += chunk
            if len(head) >= len(ZSTD_MAGIC):
                break
        chunks = itertools.chain([head], chunks)
        if head.startswith(GZIP_MAGIC):
            chunks = _gunzip(chunks, name)
        elif head.startswith(ZSTD_MAGIC):
            chunks = _unzstd(chunks, name)
        for magic, kind, hint in OTHER_MAGIC:
            if head.startswith(magic) and (kind != "bzip2" or head[4:10] == BZIP2_BLOCK):
                raise InputError(f"{name}: is {kind} data, expected text or JSON, plain or in gzip or zstd", hint=hint)
        yield _buffered(chunks)


def _reason(error: OSError | ValueError) -> str:
    return str((isinstance(error, OSError) and error.strerror) or error).lower()


def _read(file: IO[bytes], name: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = file.read1(CHUNK)  # type: ignore[attr-defined]  # both kinds of file are buffered readers
        except (OSError, ValueError) as error:
            raise InputError(f"{name}: cannot be read: {_reason(error)}") from None
        if not chunk:
            return
        yield chunk


def _gunzip(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    done = 0
    with gzip.GzipFile(fileobj=_buffered(chunks)) as file:
        while True:
            try:
                chunk = file.read1(CHUNK)
            except EOFError:
                raise _ends_early(name, "gzip", done) from None
            except (OSError, zlib.error) as error:
                raise _broken(name, "gzip", done, error) from None
            if not chunk:
                return
            done += len(chunk)
            yield chunk


def _unzstd(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        hint = "pip install radiolabel[zstd]"
        raise InputError(f"{name}: is zstd data, and the package zstandard is not installed", hint=hint) from None
    done = 0
    # The stream readers of zstandard take a truncated file for a complete one; this object knows a frame's end.
    frame = None
    for chunk in chunks:
        for start in range(0, len(chunk), ZSTD_STEP):
            rest = chunk[start : start + ZSTD_STEP]
            while rest:
                frame = frame or zstandard.ZstdDecompressor().decompressobj()
                try:
                    out = frame.decompress(rest)
                except zstandard.ZstdError as error:
                    raise _broken(name, "zstd", done, error) from None
                rest = frame.unused_data if frame.eof else b""
                frame = None if frame.eof else frame
                done += len(out)
                yield out
    if frame is not None:
        raise _ends_early(name, "zstd", done)


def _ends_early(name: str, kind: str, done: int) -> InputError:
    return InputError(
        f"{name}: {kind} data ends early, after {done} bytes were decompressed, expected a complete file",
        hint="copy or download the file again",
    )


def _broken(name: str, kind: str, done: int, error: Exception) -> InputError:
    return InputError(
        f"{name}: {kind} data cannot be decompressed after the first {done} bytes, expected a valid {kind} file",
        hint=f"the decoder says: {error}",
    )


class _Chunks(io.RawIOBase):
    """Chunks of bytes as a raw file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            try:
                self._rest = memoryview(next(self._chunks))
            except StopIteration:
                return 0
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _buffered(chunks: Iterator[bytes]) -> io.BufferedReader:
    return io.BufferedReader(_Chunks(chunks), buffer_size=CHUNK)
