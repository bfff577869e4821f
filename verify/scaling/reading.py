"""A unit of input -> batches of documents."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from verify.inputs import open_documents
from verify.inputs.arrow import parquet_batches
from verify.inputs.batches import to_batches
from verify.scaling.job import Job, Unit, check_unchanged


def read_unit(job: Job, unit: Unit) -> Iterator[pa.RecordBatch]:
    """The documents of a unit, in order.

    Raises:
        InputError: unreadable or malformed input, or an input that is not what the job was made of.
    """
    check_unchanged(job, unit)
    form = job.settings.input_format
    for piece in unit.pieces:
        name = job.inputs[piece.input].name
        if piece.stop:
            yield from parquet_batches(name, piece.start, piece.stop, format=form)
        else:
            yield from to_batches(open_documents(name, format=form))
    check_unchanged(job, unit)
