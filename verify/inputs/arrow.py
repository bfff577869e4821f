"""Parquet files -> batches of documents: `token_ids`, `response` or `text`, and `prompt`; or chat logs as rows.

Integers of any width are ids if they are from 0 to `MAX_ID`; the rows are records as JSONL has them.
A response is named "file, row group 3, row 17": both count from 0, as tools for Parquet do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from verify.decoding import printable
from verify.errors import InputError, listed, quoted
from verify.inputs.batches import SCHEMA, to_batches
from verify.inputs.formats import PARSERS, detect
from verify.inputs.places import open_place
from verify.records import DIGEST, MAX_TOKENS
from watermark.windows import MAX_ID

MAGIC: Final = b"PAR1"
COLUMNS: Final = ("token_ids", "response", "text", "prompt", "tokenizer")
LOG_COLUMNS: Final = ("messages", "request", "conversations", "conversation", "choices", "error", "custom_id", "body")
BATCH_BYTES: Final = 1 << 21  # of a column as it is decoded


def row_groups(name: str) -> list[int]:
    """Bytes of each row group's columns that are read, decoded: four of each token id.

    Raises:
        InputError: not Parquet, or none of the columns.
    """
    with _open(name) as file:
        wanted = set(_wanted(file, name))
        metadata, sizes = file.metadata, []
        for group in range(metadata.num_row_groups):
            columns = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
            used = [c for c in columns if c.path_in_schema.split(".")[0] in wanted]
            sizes.append(
                sum(4 * c.num_values if c.physical_type[:3] == "INT" else c.total_uncompressed_size for c in used)
            )
        return sizes


def parquet_batches(name: str, start: int, stop: int, *, format: str = "auto") -> Iterator[pa.RecordBatch]:
    """Documents of some row groups.

    Args:
        name: a file or URL.
        start: the first row group.
        stop: the row group after the last.
        format: as for `verify.inputs.open_documents`; `text` is no format of rows.

    Raises:
        InputError: unreadable, or a value that cannot be used, with its row group and row.
    """
    if format == "text":
        raise InputError(f"{printable(name)}: is Parquet, and its rows are records, expected another format than text")
    with _open(name) as file:
        wanted = _wanted(file, name)
        for group in range(start, stop):
            about, first = file.metadata.row_group(group), 0
            rows = max(1, min(about.num_rows, BATCH_BYTES * about.num_rows // max(about.total_byte_size, 1)))
            batches = file.iter_batches(rows, row_groups=[group], columns=wanted, use_threads=False)
            while (batch := _next(batches, f"{printable(name)}, row group {group}")) is not None:
                yield from documents_of(batch, f"{printable(name)}, row group {group}", first=first, format=format)
                first += len(batch)


def documents_of(
    batch: pa.RecordBatch, where: str, *, first: int = 0, format: str = "auto"
) -> Iterator[pa.RecordBatch]:
    """Rows of any table -> batches of documents (`verify.inputs.batches.SCHEMA`).

    Args:
        batch: has some of the columns that this module names.
        where: what errors call the table.
        first: the number of the batch's first row.
        format: see `parquet_batches`.

    Raises:
        InputError: a value that cannot be used.
    """
    names = [name for name in (*COLUMNS, *LOG_COLUMNS) if name in batch.schema.names]
    plain = [name for name in names if name != "token_ids"]
    if (
        format not in ("auto", "jsonl")
        or set(names) - set(COLUMNS)
        or not all(_is_text(batch.column(c)) for c in plain)
    ):
        yield from to_batches(_records(batch.select(names), where, first, format))
    elif len(batch):
        yield _columns(batch, where, first)


def _columns(batch: pa.RecordBatch, where: str, first: int) -> pa.RecordBatch:
    """The columns of records with plain fields, without a step through Python objects."""
    n, names = len(batch), batch.schema.names

    def texts(name: str) -> Any:
        return _text(batch.column(name), where, name) if name in names else pa.nulls(n, pa.string())

    text, ids = pc.coalesce(texts("response"), texts("text")), None
    if "token_ids" in names:
        ids = ids_of(batch.column("token_ids"), where, first=first, nulls={"response", "text"} & {*names} != set())
    if {"response", "text"} & {*names}:
        nothing = text.is_null() if ids is None else pc.and_(text.is_null(), ids.is_null())
        text = pc.if_else(nothing, "", text)
    rows = pc.cast(pa.array(np.arange(first, first + n)), pa.string())
    columns = {
        "place": pc.binary_join_element_wise(f"{where}, row ", rows, ""),
        "text": text,
        "token_ids": ids if ids is not None else pa.nulls(n, pa.large_list(pa.uint32())),
        "prompt": texts("prompt"),
        "tokenizer": pc.if_else(pc.match_substring_regex(digests := texts("tokenizer"), DIGEST), digests, None),
        "said": pa.nulls(n, pa.list_(pa.string())),
        "continues": pa.array(np.zeros(n, dtype=bool)),
    }
    return pa.RecordBatch.from_arrays([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def ids_of(column: pa.Array, where: str, *, first: int = 0, nulls: bool = False) -> pa.LargeListArray:
    """Check a column of token ids.

    Args:
        column: lists of integers, of any width, dictionary-encoded or not, sliced or not.
        where: what errors call the table.
        first: the number of the first row.
        nulls: whether null stays null; else it is an empty list.

    Raises:
        InputError: another type, a null or an id out of range in a list, or a list that is too long.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    value_type = kind.value_type if any(check(kind) for check in lists) else None
    if value_type is not None and pa.types.is_dictionary(value_type):
        value_type = value_type.value_type
    if value_type is None or not (pa.types.is_integer(value_type) or pa.types.is_null(value_type)):
        raise InputError(f"{where}: token_ids is {quoted(str(kind))}, expected lists of integers")
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    values = column.flatten()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()

    def place(at: int) -> str:
        row = int(np.searchsorted(offsets, at, side="right")) - 1
        return f"{where}, row {first + row}: token_ids[{at - int(offsets[row])}]"

    if values.null_count:
        at = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise InputError(f"{place(at)} is null, expected an integer from 0 to {MAX_ID}")
    numbers = np.empty(0, dtype=np.uint32) if not len(values) else values.to_numpy(zero_copy_only=False)
    if numbers.size and (int(numbers.max()) > MAX_ID or int(numbers.min()) < 0):
        at = int(np.flatnonzero((numbers < 0) | (numbers > MAX_ID))[0])
        raise InputError(f"{place(at)} is {int(numbers[at])}, expected an integer from 0 to {MAX_ID}")
    if lengths.size and int(lengths.max()) > MAX_TOKENS:
        row = int(lengths.argmax())
        raise InputError(
            f"{where}, row {first + row}: token_ids has {int(lengths[row])} items, expected at most {MAX_TOKENS}"
        )
    mask = column.is_null() if nulls and column.null_count else None
    flat = pa.array(numbers.astype(np.uint32, copy=False))
    return pa.LargeListArray.from_arrays(pa.array(offsets), flat, mask=mask)


def _records(batch: pa.RecordBatch, where: str, first: int, format: str) -> Iterator[Any]:
    for row, record in enumerate(batch.to_pylist(), start=first):
        place = f"{where}, row {row}"
        yield from PARSERS[detect(record, place) if format == "auto" else format](record, place)


def _is_text(column: pa.Array) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    checks = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_null,
    )
    return any(check(kind) for check in checks)


def _text(column: pa.Array, where: str, name: str) -> pa.Array:
    try:
        decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        return decoded.cast(pa.string())
    except pa.ArrowInvalid:
        raise InputError(f"{where}: column {name} is not utf-8 text, expected strings") from None


def _wanted(file: pq.ParquetFile, name: str) -> list[str]:
    names = file.schema_arrow.names
    found = [column for column in (*COLUMNS, *LOG_COLUMNS) if column in names]
    if not {"token_ids", "response", "text", "conversations", "conversation", "messages", "choices"} & {*found}:
        raise InputError(
            f"{printable(name)}: found the columns {listed(names)}, expected 'token_ids', 'response' or 'text'",
            hint="rename the column that holds the answers",
        )
    return found


@contextmanager
def _open(name: str) -> Iterator[pq.ParquetFile]:
    with open_place(name) as stream, _arrow_errors(printable(name)):
        # Streamed: a column chunk is not held whole.
        yield pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False)


def _next(batches: Iterator[pa.RecordBatch], where: str) -> pa.RecordBatch | None:
    with _arrow_errors(where):
        return next(batches, None)


@contextmanager
def _arrow_errors(where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"{where}: cannot be read as Parquet: {quoted(said)}, expected a whole Parquet file",
            hint="copy or download the file again",
        ) from None
