"""Long files of a ledger on several processes, for the commands that everybody can run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from watermark.ledger import Head, Keeping
    from watermark.ledger.folds import Fold
    from watermark.ledger.walking import Leap, Leapt

JOBS = click.option("--jobs", type=click.IntRange(1, 1024),
                    help="Read long files in parts, with so many processes.  [default: all cores, up to 8]"
                    )  # fmt: skip
MOST = 8  # by default: one hostile line takes 0.4 GB of each process that meets one
PARTS = 4  # of a process: one that is slower than the others then holds nobody up for long

Advance = Callable[[str, int], None]


def cores() -> int:
    """Processors that this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, MOST)


@dataclass(frozen=True)
class Parallel:
    """How long files are walked through in parts; what comes out does not depend on it.

    Attributes:
        fold: takes in the records of the parts.
        noted: a head that the chain is to pass, or None.
        jobs: processes.
        least: bytes of a part at least, or None for what is worth a process.
    """

    fold: Fold
    noted: Head | None
    jobs: int
    least: int | None = None

    @contextmanager
    def over(self, path: str, advance: Advance) -> Iterator[Leap | None]:
        """What passes the lines of one file, or None where they have to come one by one."""
        from verify.inputs.places import open_place

        if self.jobs == 1 or path == "-" or not os.path.isfile(path):
            yield None
            return
        with open_place(path) as file:
            yield partial(self._leap, file, os.path.realpath(path), advance)

    def _leap(
        self, file: IO[bytes], path: str, advance: Advance, offset: int, head: Head, keeping: Keeping
    ) -> Leapt | None:
        from verify.errors import InputError
        from verify.scaling.pool import pool
        from watermark.ledger.parts import LEAST_BYTES, Part, UnjoinedError, joined, reader, split, walk_part
        from watermark.ledger.walking import Leapt

        file.seek(0)
        if file.read(1) != b"{":
            return None  # compressed: places in the file are not those of lines
        places = split(file, offset, parts=PARTS * self.jobs, least=self.least or LEAST_BYTES)
        if not places:
            return None
        tasks = [
            Part(index, path, start, end, keeping, self.noted, self.fold.empty())
            for index, (start, end) in enumerate(places)
        ]
        fold, begin = self.fold.empty(), head.count
        try:
            with pool(walk_part, jobs=min(self.jobs, len(tasks))) as run:
                for walked in joined(run(tasks), head):
                    fold.merge(walked.fold)
                    advance("reading", walked.head.count - head.count)
                    head = walked.head
        except (UnjoinedError, OSError):
            advance("reading", begin - head.count)
            return None
        except InputError as error:
            raise InputError(str(error), hint="--jobs 1 reads with one process, in little memory") from None
        self.fold.merge(fold)
        end = places[-1][1]
        return Leapt(reader(file, end), end, head.count - begin, head)
