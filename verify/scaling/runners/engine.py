"""The kernels as one value that an engine sends to its workers: rows of units in, rows of pairs or sums out.

On a cluster every worker needs this package, and the inputs, the tokenizer and the key file under the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
import pyarrow as pa

from verify.errors import Error, InputError, Refused, quoted
from verify.scaling.job import Job, Unit
from verify.scaling.kernels import pairs, scores
from verify.scaling.reading import read_unit
from verify.scaling.tasks import load_key, load_tokenizer

UNIT_ROWS: Final = pa.schema([("unit", pa.binary())])
PARTITIONS: Final = 64  # of the shuffle
_OURS: Final = re.compile(r"verify\.errors\.(InputError|Refused): (.*)")


@dataclass(frozen=True)
class Kernels:
    """See the module.

    Attributes:
        job: what is counted.
        tokenizer_file: as the workers name it, or None.
        key_file: likewise; read in the worker, so that no key travels.
        key_id: what that file must hold.
        most_pairs: pairs that a worker holds at once.
    """

    job: bytes
    tokenizer_file: str | None
    key_file: str
    key_id: str
    most_pairs: int

    def units(self) -> pa.Table:
        """A row for each unit."""
        return pa.table({"unit": [msgspec.json.encode(unit) for unit in self._job().units]}, schema=UNIT_ROWS)

    def pairs(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Rows of units -> `kernels.pairs`."""
        job = self._job()
        tokenizer = load_tokenizer(self.tokenizer_file, job.settings.tokenizer)
        for batch in batches:
            for unit in batch.column("unit").to_pylist():
                documents = read_unit(job, msgspec.json.decode(unit, type=Unit))
                yield from pairs(documents, job.settings, tokenizer=tokenizer, most_pairs=self.most_pairs)

    def scores(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """All rows of some buckets, ordered by bucket -> `kernels.scores`."""
        yield from scores(batches, load_key(self.key_file, self.key_id), most_pairs=self.most_pairs)

    def _job(self) -> Job:
        return msgspec.json.decode(self.job, type=Job)


def by_table(kernel: Callable[..., Iterable[pa.RecordBatch]], schema: pa.Schema) -> Callable[[pa.Table], pa.Table]:
    """A kernel for engines that want tables."""
    return lambda table: pa.Table.from_batches(kernel(table.to_batches()), schema=schema)


@contextmanager
def engine_errors(engine: str) -> Iterator[None]:
    """An engine's exception becomes the error of ours that a worker raised, or one that says who failed.

    Raises:
        InputError: or Refused, as the worker said.
    """
    try:
        yield
    except Error:
        raise
    except Exception as error:
        found = _OURS.search(str(error))
        if found:
            raise (Refused if found[1] == "Refused" else InputError)(found[2]) from None
        said = " ".join(str(error).split())
        raise InputError(f"{engine} failed with {type(error).__name__}: {quoted(said)}") from None
