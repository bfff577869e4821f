"""What is to be counted: settings that move the numbers, inputs, and units of work. No key is among them.

A unit is one or more pieces: some row groups of a Parquet file, or a whole file of another kind. How the inputs fall
into units follows from the inputs alone, so that a work folder can be continued with other numbers of processes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from verify.decoding import printable
from verify.errors import InputError
from verify.inputs.arrow import MAGIC, row_groups
from verify.inputs.places import Stamp, expand, open_place, stamp
from watermark import __version__

UNIT_BYTES: Final = 16 << 20  # of token ids, four bytes each, or of another file


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every choice that can move the number before a key is looked at.

    Attributes:
        width: h.
        input_format: see `verify.inputs.open_documents`.
        skip_repeated: see `verify.scoring.summarize`.
        trust_ids: see `verify.corpus.summarize_documents`.
        ids_alone: whether records with token ids and no text are taken.
        tokenizer: digest of the provider's tokenizer, or None.
        program: version of this program: another might read or count otherwise.
    """

    width: int
    input_format: str
    skip_repeated: bool
    trust_ids: bool
    ids_alone: bool
    tokenizer: str | None
    program: str = __version__


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file or URL as it was when the job was made."""

    name: str
    size: int
    changed: str


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Row groups start to stop of an input; all of a file that has none if stop is 0."""

    input: int
    start: int
    stop: int


class Unit(msgspec.Struct, frozen=True, array_like=True):
    """What one task reads, with its bytes."""

    pieces: tuple[Piece, ...]
    size: int


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it, as `job.json` of a work folder holds it."""

    radiolabel: str = "job"
    version: int = 1
    settings: Settings
    inputs: tuple[Input, ...]
    units: tuple[Unit, ...]


def plan_job(names: tuple[str, ...], settings: Settings) -> Job:
    """Look at the inputs and cut them into units.

    Args:
        names: files, patterns and URLs.
        settings: of the job.

    Raises:
        InputError: an input that cannot be opened, is empty, or is a damaged Parquet file.
    """
    inputs, sized = [], []
    for index, name in enumerate(expand(names)):
        at = stamp(name)
        inputs.append(Input(name=name, size=at.size, changed=at.changed))
        if _is_parquet(name):
            sized += [(Piece(index, group, group + 1), size) for group, size in enumerate(row_groups(name))]
        else:
            sized.append((Piece(index, 0, 0), at.size))
    return Job(settings=settings, inputs=tuple(inputs), units=tuple(_units(sized)))


def check_unchanged(job: Job, unit: Unit) -> None:
    """Refuse inputs that are not what the job was made of.

    Raises:
        InputError: another size or time of change.
    """
    for index in sorted({piece.input for piece in unit.pieces}):
        known = job.inputs[index]
        if stamp(known.name) != Stamp(known.size, known.changed):
            raise InputError(
                f"{printable(known.name)}: changed since this work began, expected the same size and time of change",
                hint="begin again with another --work folder, on a copy that nothing writes to",
            )


def _is_parquet(name: str) -> bool:
    with open_place(name) as stream:
        try:
            return stream.read(len(MAGIC)) == MAGIC
        except OSError as error:
            raise InputError(f"{printable(name)}: cannot be read: {(error.strerror or '').lower()}") from None


def _units(sized: list[tuple[Piece, int]]) -> list[Unit]:
    """Neighbours together until they are `UNIT_BYTES`; row groups that follow each other become one piece."""
    units: list[Unit] = []
    pieces: list[Piece] = []
    total = 0
    for piece, size in sized:
        if pieces and total + size > UNIT_BYTES:
            units.append(Unit(tuple(pieces), total))
            pieces, total = [], 0
        last = pieces[-1] if pieces else None
        if last and piece.stop and (last.input, last.stop) == (piece.input, piece.start):
            pieces[-1] = Piece(last.input, last.start, piece.stop)
        else:
            pieces.append(piece)
        total += size
    return [*units, Unit(tuple(pieces), total)] if pieces else units
