"""The two kernels: iterators of Arrow record batches to iterators of record batches.

    documents (`verify.inputs.batches`) -> `pairs` -> rows -> shuffle by bucket -> `scores` -> rows of sums

A row has one of four things: a bucket with packed pairs, counts, or, after `scores`, a bucket with its sums or counts.
The bucket's number is the shuffle key; rows of counts have `COUNTS_BUCKET`. `pairs` takes no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from verify.corpus import summarize_documents
from verify.distinct import DistinctBuilder, Pairs, by_bucket
from verify.errors import Refused
from verify.inputs.batches import to_documents, token_batch
from verify.scaling.bounded import distinct_parts
from verify.scaling.counts import Counts, Sums
from verify.scaling.job import Settings
from verify.scaling.packing import pack, unpack
from verify.scoring import Summary, score, summarize
from verify.tokenization import Tokenizer
from watermark.keys import ValueKey
from watermark.windows import TokenBatch

PAIR_ROWS: Final = pa.schema([("bucket", pa.int32()), ("pairs", pa.binary()), ("counts", pa.binary())])
SUM_ROWS: Final = pa.schema([("bucket", pa.int32()), ("sums", pa.binary()), ("counts", pa.binary())])
COUNTS_BUCKET: Final = -1
TOKENS_AT_ONCE: Final = 1 << 17  # tables of the look-up stay in the cache

Batches = Iterable[pa.RecordBatch]


def pairs(batches: Batches, settings: Settings, *, tokenizer: Tokenizer | None, most_pairs: int) -> Batches:
    """Documents -> rows of distinct pairs by bucket, in order, and at last one row of counts.

    Args:
        batches: documents.
        settings: of the job.
        tokenizer: that of the settings.
        most_pairs: about how many pairs are held at once; where more come, a bucket comes more than once.

    Raises:
        InputError: a document that cannot be used.
        Refused: another tokenizer, or ids where they are not trusted.
    """
    counts, builder = Counts(), DistinctBuilder(settings.width, most_pairs // 2)
    for batch in batches:
        for part in _summaries(batch, settings, tokenizer):
            counts += Counts.of(part)
            builder.add(part.pairs)
            if len(builder) > most_pairs and len(builder.result()) > most_pairs // 2:
                yield _rows(builder.result())
                builder = DistinctBuilder(settings.width, most_pairs // 2)
    if len(builder):
        yield _rows(builder.result())
    yield _batch(PAIR_ROWS, bucket=[COUNTS_BUCKET], pairs=[None], counts=[msgspec.json.encode(counts)])


def scores(batches: Batches, key: ValueKey, *, most_pairs: int, folder: str | None = None) -> Batches:
    """Rows of pairs and counts -> a row of sums for each bucket, and one of all counts if there are any.

    Args:
        batches: all rows of some buckets; those of one bucket follow each other.
        key: the key.
        most_pairs: distinct pairs held at once; of a bucket with more, the rest waits in files.
        folder: where such files are made; the system's own place if None.
    """
    counts = None
    for bucket, rows in groupby(_unrolled(batches), key=lambda row: row[0]):
        if bucket == COUNTS_BUCKET:
            for _, _, found in rows:
                counts = (counts or Counts()) + msgspec.json.decode(found, type=Counts)
            continue
        sums = Sums()
        pieces = (unpack(packed, key.deployment.width) for _, packed, _ in rows)
        for part in distinct_parts(pieces, key.deployment.width, most_pairs=most_pairs, folder=folder):
            sums += Sums.of(score(part, key))
        yield _batch(SUM_ROWS, bucket=[bucket], sums=[msgspec.json.encode(sums)], counts=[None])
    if counts is not None:
        yield _batch(SUM_ROWS, bucket=[COUNTS_BUCKET], sums=[None], counts=[msgspec.json.encode(counts)])


def added(batches: Batches) -> tuple[Counts, Sums]:
    """All rows of sums and counts in one, whatever their order."""
    counts, sums = Counts(), Sums()
    for _, some, found in _unrolled(batches):
        counts += msgspec.json.decode(found, type=Counts) if found else Counts()
        sums += msgspec.json.decode(some, type=Sums) if some else Sums()
    return counts, sums


def _summaries(batch: pa.RecordBatch, settings: Settings, tokenizer: Tokenizer | None) -> Iterator[Summary]:
    tokens = token_batch(batch)
    if not settings.ids_alone and batch.column("text").null_count:
        row = batch.column("text").is_null().to_pylist().index(True)
        raise Refused(
            f"{batch.column('place')[row]}: token ids and no text, and the plan does not trust ids",
            hint="a text has many tokenizations, and some of them score high: take records with their text",
        )
    if tokens is None:
        yield summarize_documents(
            to_documents(batch),
            settings.width,
            tokenizer=tokenizer,
            trust_ids=settings.trust_ids,
            skip_repeated=settings.skip_repeated,
        )
        return
    if tokenizer is not None and tokens.ids.size and int(tokens.ids.max()) >= tokenizer.vocab_size:
        for document in to_documents(batch):
            tokenizer.check(document)
    for part in _cut(tokens):
        yield summarize(part, settings.width, skip_repeated=settings.skip_repeated)


def _cut(tokens: TokenBatch) -> Iterator[TokenBatch]:
    """Some whole documents at a time."""
    start, offsets = 0, tokens.offsets
    while start < len(offsets) - 1:
        stop = max(int(np.searchsorted(offsets, offsets[start] + TOKENS_AT_ONCE, side="right")) - 1, start + 1)
        yield TokenBatch(tokens.ids[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start])
        start = stop


def _rows(found: Pairs) -> pa.RecordBatch:
    ordered, offsets = by_bucket(found)
    packed, size = pack(ordered, offsets)
    used = np.flatnonzero(np.diff(offsets)).astype(np.int32)
    ends = np.append(offsets[used], offsets[-1]) * size
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(packed)]
    column = pa.Array.from_buffers(pa.binary(), len(used), buffers)
    return _batch(PAIR_ROWS, bucket=pa.array(used), pairs=column, counts=pa.nulls(len(used), pa.binary()))


def _batch(schema: pa.Schema, **columns: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(c, t) if isinstance(c, list) else c for c, t in zip(columns.values(), schema.types, strict=True)],
        schema=schema,
    )


def _unrolled(batches: Batches) -> Iterator[tuple[int, Any, Any]]:
    """(bucket, second column, third column) of every row; bytes are views of the batch."""
    for batch in batches:
        buckets, second, third = (batch.column(i) for i in range(3))
        for i, bucket in enumerate(buckets.to_pylist()):
            yield bucket, _view(second[i]), _view(third[i])


def _view(value: pa.Scalar) -> memoryview | None:
    return memoryview(value.as_buffer()) if value.is_valid else None
