"""What a process does for the local runner, one task at a time: each ends with a marker.

A key is read from its file in the process that needs it: no key travels between processes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa

from verify.distinct import N_BUCKETS
from verify.errors import Refused
from verify.inputs.places import Stamp, digest, stamp
from verify.scaling.counts import Counts
from verify.scaling.folder import Digest, GroupMarker, UnitMarker, WorkFolder, save
from verify.scaling.job import Job
from verify.scaling.kernels import COUNTS_BUCKET, PAIR_ROWS, added, pairs, scores
from verify.scaling.parts import Part, PartReader, write_part
from verify.scaling.reading import read_unit
from verify.tokenization import Tokenizer
from watermark.keyfile import read_key
from watermark.keys import ValueKey

N_GROUPS: Final = 64
GROUP_BUCKETS: Final = N_BUCKETS // N_GROUPS
SHARE_READ: Final = 4  # bytes of rows read at once, as a share of the pairs that may be held


@dataclass(frozen=True)
class Task:
    """One task: `kind` is input, unit or group, and `index` says which."""

    kind: str
    index: int


@dataclass(frozen=True)
class Worker:
    """Does tasks; it can be sent to another process.

    Attributes:
        folder: the work folder.
        tokenizer_file: of the job's tokenizer, or None.
        most_pairs: pairs held at once.
        key_file: for groups.
        key_id: what that file must hold.
    """

    folder: str
    tokenizer_file: str | None
    most_pairs: int
    key_file: str | None = None
    key_id: str | None = None

    def do(self, task: Task) -> Task:
        """Do one task, whose marker stands afterwards.

        Raises:
            InputError: of an input.
            Refused: of an input, a damaged part, or another key than at the start.
        """
        {"input": self._input, "unit": self._unit, "group": self._group}[task.kind](task.index)
        return task

    @cached_property
    def _work(self) -> WorkFolder:
        return WorkFolder(self.folder)

    @cached_property
    def _job(self) -> Job:
        return self._work.job()

    @cached_property
    def _job_digest(self) -> str:
        return self._work.job_digest()

    @cached_property
    def _tokenizer(self) -> Tokenizer | None:
        return load_tokenizer(self.tokenizer_file, self._job.settings.tokenizer)

    @cached_property
    def _key(self) -> ValueKey:
        return load_key(self.key_file or "", self.key_id or "")

    @cached_property
    def units_digest(self) -> str:
        """Digest of the job and of all parts that the units' markers name."""
        named = [part.digest for part in self._part_names]
        return hashlib.sha256("".join([self._job_digest, *named]).encode()).hexdigest()

    @cached_property
    def _part_names(self) -> list[Part]:
        return [part for marker in self._work.unit_markers() for part in marker.parts]

    @cached_property
    def _parts(self) -> list[PartReader]:
        return [PartReader(self._work.pairs, part) for part in self._part_names]

    def _input(self, index: int) -> None:
        known = self._job.inputs[index]
        found = Digest(job=self._job_digest, sha256=digest(known.name))
        if stamp(known.name) != Stamp(known.size, known.changed):
            raise Refused(f"{known.name}: changed while it was read", hint="test a copy that nothing writes to")
        save(self._work.input_marker(index), found)

    def _unit(self, index: int) -> None:
        counts, parts = Counts(), list[Part]()
        documents = read_unit(self._job, self._job.units[index])
        rows = pairs(documents, self._job.settings, tokenizer=self._tokenizer, most_pairs=self.most_pairs)
        for batch in rows:
            if batch.column("bucket")[0].as_py() == COUNTS_BUCKET:
                counts += added([batch])[0]
            else:
                # The name is new: two processes that do one unit never write one file.
                parts.append(write_part(self._work.pairs / f"{index:06}.{secrets.token_hex(4)}", batch))
        save(self._work.unit_marker(index), UnitMarker(job=self._job_digest, counts=counts, parts=tuple(parts)))

    def _group(self, index: int) -> None:
        rows = self._rows(index * GROUP_BUCKETS, (index + 1) * GROUP_BUCKETS)
        _, sums = added(scores(rows, self._key, most_pairs=self.most_pairs, folder=str(self._work.pairs)))
        marker = GroupMarker(job=self._job_digest, units=self.units_digest, key=self._key.id, sums=sums)
        save(self._work.group_marker(self._key.id, index), marker)

    def _rows(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Rows of pairs of some buckets, those of a bucket together: many buckets at once where they are small."""
        readers, limit = self._parts, max(self.most_pairs * 8 // SHARE_READ, 1)
        while readers and start < stop:
            end = start + 1
            while end < stop and sum(reader.size(start, end + 1) for reader in readers) <= limit:
                end += 1
            if end == start + 1:  # perhaps a large one: a part at a time
                for reader in readers:
                    yield _batch([(start, reader.read(start, end)[0])])
            else:
                found = [reader.read(start, end) for reader in readers]
                for bucket in range(start, end):
                    yield _batch([(bucket, pieces[bucket - start]) for pieces in found])
            start = end


def load_tokenizer(file: str | None, expected: str | None) -> Tokenizer | None:
    """The job's tokenizer.

    Raises:
        Refused: not the one that the job began with.
    """
    found = Tokenizer.load(file) if file else None
    if (found.digest if found else None) != expected:
        raise Refused(f"the tokenizer is {found.digest if found else None}, expected {expected}")
    return found


def load_key(file: str, key_id: str) -> ValueKey:
    """A key from its file.

    Raises:
        Refused: not the one that the work began with.
    """
    key = read_key(file)
    if not isinstance(key, ValueKey) or key.id != key_id:
        raise Refused(f"{file}: is not the key it was when this began")
    return key


def _batch(rows: list[tuple[int, memoryview]]) -> pa.RecordBatch:
    buckets, packed = zip(*rows, strict=True)
    ends = np.cumsum([0, *map(len, packed)]).astype(np.int32)
    # Not pa.array(packed): pyarrow 26 never lets go of a memoryview that it converts, which cost 4 GB at 10^9 ids.
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(packed))]
    column = pa.Array.from_buffers(pa.binary(), len(rows), buffers)
    columns = [pa.array(buckets, pa.int32()), column, pa.nulls(len(rows), pa.binary())]
    return pa.RecordBatch.from_arrays(columns, schema=PAIR_ROWS)
