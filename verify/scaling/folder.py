"""A work folder: what is done stands there as a marker, and nothing else counts.

    job.json             settings, inputs, units
    inputs/000000.json   digest of an input
    units/000000.json    marker of a unit: its counts and parts
    pairs/000000.*       parts
    sums/KEY/00.json     marker of a group of buckets under a key: their sums
    lock

A marker appears by renaming a file that is complete on the disk, after everything it names. So a process may end at
any moment: what has no marker is done again, and a file that no marker names is a leftover.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from verify.decoding import printable
from verify.errors import InputError, Refused
from verify.scaling.counts import Counts, Sums
from verify.scaling.job import Job
from verify.scaling.parts import Part, write_whole

KEY_DIGITS: Final = 32  # of a key's id, in a folder's name


class Digest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marker of an input: `job` is the digest of `job.json`."""

    job: str
    sha256: str


class UnitMarker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marker of a unit."""

    job: str
    counts: Counts
    parts: tuple[Part, ...]


class GroupMarker(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Marker of a group of buckets; `units` is the digest of all unit markers, `key` the key's id."""

    job: str
    units: str
    key: str
    sums: Sums


Marker = TypeVar("Marker", Digest, UnitMarker, GroupMarker)


class WorkFolder:
    """Paths and markers of one job.

    Args:
        path: the folder.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.pairs, self.units, self.inputs = (self.path / name for name in ("pairs", "units", "inputs"))

    def begin(self, job: Job) -> None:
        """Make the folder, or go on with one of the same job.

        Raises:
            InputError: the folder is of another job, or holds something else.
        """
        for folder in (self.pairs, self.units, self.inputs):
            folder.mkdir(parents=True, exist_ok=True)
        file = self.path / "job.json"
        if not file.exists():
            write_whole(file, msgspec.json.encode(job))
        known = self.job()
        if known != job:
            raise InputError(
                f"{printable(str(self.path))}: holds another job: {_difference(known, job)}",
                hint="name another --work folder, or remove this one",
            )

    def job(self) -> Job:
        """What the folder is for.

        Raises:
            InputError: it is no work folder.
        """
        file = self.path / "job.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Job)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise InputError(f"{printable(str(file))}: cannot be read: {reason}, expected a --work folder") from None
        except (msgspec.DecodeError, ValueError):
            raise InputError(f"{printable(str(file))}: is no job of this version of radiolabel") from None

    def job_digest(self) -> str:
        """SHA-256 of `job.json`."""
        return hashlib.sha256((self.path / "job.json").read_bytes()).hexdigest()

    def unit_marker(self, unit: int) -> Path:
        """Where a unit's marker stands."""
        return self.units / f"{unit:06}.json"

    def unit_markers(self) -> list[UnitMarker]:
        """The markers of all units.

        Raises:
            Refused: some are missing.
        """
        n, digest = len(self.job().units), self.job_digest()
        found = [load(self.unit_marker(unit), UnitMarker) for unit in range(n)]
        there = [marker for marker in found if marker is not None and marker.job == digest]
        if len(there) < n:
            missing = next(unit for unit, marker in enumerate(found) if marker is None or marker.job != digest)
            raise Refused(
                f"{printable(str(self.path))}: {n - len(there)} of {n} units are not done, the first is {missing}",
                hint="run what is missing again: it goes on where it stopped",
            )
        return there

    def digests(self) -> list[str]:
        """SHA-256 of every input.

        Raises:
            Refused: some are missing.
        """
        n, digest = len(self.job().inputs), self.job_digest()
        found = [load(self.input_marker(index), Digest) for index in range(n)]
        there = [marker.sha256 for marker in found if marker is not None and marker.job == digest]
        if len(there) < n:
            raise Refused(
                f"{printable(str(self.path))}: {n - len(there)} of {n} inputs have no digest yet",
                hint="run what is missing again: it goes on where it stopped",
            )
        return there

    def input_marker(self, index: int) -> Path:
        """Where an input's digest stands."""
        return self.inputs / f"{index:06}.json"

    def group_marker(self, key_id: str, group: int) -> Path:
        """Where the sums of a group of buckets stand."""
        return self.path / "sums" / key_id[:KEY_DIGITS] / f"{group:02}.json"

    def remove_leftovers(self) -> None:
        """Remove what no marker names; only for whoever has the folder alone."""
        named = {
            part.name for path in self.units.glob("[!.]*.json") if (m := load(path, UnitMarker)) for part in m.parts
        }
        for folder in (self.pairs, self.units, self.inputs, *(self.path / "sums").glob("*")):
            for file in folder.iterdir():
                if file.name.startswith(".") or (folder == self.pairs and file.name not in named):
                    file.unlink(missing_ok=True)

    @contextmanager
    def lock(self, *, shared: bool) -> Iterator[None]:
        """Keep the folder, alone or together with other shards, until the end or the death of this process.

        Raises:
            Refused: somebody else has it.
        """
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "lock", "wb") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise Refused(
                        f"{printable(str(self.path))}: another radiolabel works in this folder",
                        hint="wait for it, or name another --work folder",
                    ) from None
                if not shared:
                    raise
                # A file system without locks: shards do each other no harm, whatever they do at once.
            yield


def load(path: Path, kind: type[Marker]) -> Marker | None:
    """A marker, or None if there is none that can be read: its work is then done again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, msgspec.DecodeError, ValueError):
        return None


def save(path: Path, marker: Digest | UnitMarker | GroupMarker) -> None:
    """Put a marker in its place.

    Raises:
        OSError: as the system says.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.encode(marker))


def _difference(known: Job, new: Job) -> str:
    for field in new.settings.__struct_fields__:
        was, now = getattr(known.settings, field), getattr(new.settings, field)
        if was != now:
            return f"{field} was {was!r} and is {now!r}"
    for old, fresh in zip(known.inputs, new.inputs, strict=False):
        if old.name != fresh.name:
            return f"an input was {printable(old.name)} and is {printable(fresh.name)}"
        if old != fresh:
            return f"{printable(old.name)} has changed since that work began"
    return f"it had {len(known.inputs)} inputs, and there are {len(new.inputs)}"
