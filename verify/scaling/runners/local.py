"""The local runner: processes of this machine, and a work folder on its disk."""

from __future__ import annotations

from collections.abc import Callable

from verify.scaling.counts import Counts, Sums
from verify.scaling.folder import Digest, GroupMarker, UnitMarker, WorkFolder, load
from verify.scaling.pool import Run
from verify.scaling.tasks import N_GROUPS, Task, Worker

Advance = Callable[[str, int], None]


def count(worker: Worker, run: Run, *, shard: tuple[int, int] = (1, 1), advance: Advance) -> None:
    """Digest the inputs and turn units into pairs: those that have no marker yet.

    Args:
        worker: needs no key.
        run: does tasks with it, see `verify.scaling.pool`.
        shard: (I, N): every N-th unit and input, from the I-th on.
        advance: told of "reading" and its bytes.
    """
    work = WorkFolder(worker.folder)
    job, digest = work.job(), work.job_digest()
    missing, (first, step) = [], shard
    for index in range(first - 1, len(job.units), step):
        marker = load(work.unit_marker(index), UnitMarker)
        if marker and marker.job == digest and all((work.pairs / part.name).exists() for part in marker.parts):
            advance("reading", job.units[index].size)
        else:
            missing.append(Task("unit", index))
    for index in range(first - 1, len(job.inputs), step):
        known = load(work.input_marker(index), Digest)
        if known is None or known.job != digest:
            missing.append(Task("input", index))
    for done in run(missing):
        if done.kind == "unit":
            advance("reading", job.units[done.index].size)


def add(worker: Worker, run: Run, *, advance: Advance) -> tuple[Counts, Sums]:
    """Score every bucket under the worker's key, those that have no marker yet, and add up.

    Args:
        worker: with a key.
        run: does tasks with it, see `verify.scaling.pool`.
        advance: told of "scoring" and the groups of buckets.

    Raises:
        Refused: units are missing.
    """
    work, key_id = WorkFolder(worker.folder), worker.key_id or ""
    counts, sums, units = Counts(), Sums(), worker.units_digest

    def known(group: int) -> GroupMarker | None:
        marker = load(work.group_marker(key_id, group), GroupMarker)
        return marker if marker and (marker.units, marker.key) == (units, key_id) else None

    missing = [Task("group", group) for group in range(N_GROUPS) if known(group) is None]
    advance("scoring", N_GROUPS - len(missing))
    for _ in run(missing):
        advance("scoring", 1)
    for group in range(N_GROUPS):
        marker = known(group)
        assert marker is not None
        sums += marker.sums
    for unit in work.unit_markers():
        counts += unit.counts
    return counts, sums
