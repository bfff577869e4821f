"""Exact distinct pairs of one bucket in bounded memory, also where somebody made all pairs fall into it.

While the distinct pairs fit, they are held. When they do not, everything is split among files by a second hash, whose
multipliers are drawn when they are needed: whoever wrote the text could not know them. The pairs of a file are
distinct from those of every other, and a file that is still too large is split again.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO, Final

import numpy as np

from verify.distinct import DistinctBuilder, Pairs
from verify.scaling.packing import pack, pair_bytes, unpack

N_FILES: Final = 16
READ_PAIRS: Final = 1 << 16


def distinct_parts(pieces: Iterable[Pairs], width: int, *, most_pairs: int, folder: str | None) -> Iterator[Pairs]:
    """Distinct pairs, in parts that share none.

    Args:
        pieces: pairs of one width, each any number of times.
        width: h.
        most_pairs: about how many are held at once.
        folder: where files are made if need be; the system's own place if None.
    """
    builder = DistinctBuilder(width, most_pairs // 2)
    pieces = iter(pieces)
    for piece in pieces:
        for start in range(0, len(piece), max(most_pairs // 2, 1)):
            builder.add(piece[start : start + max(most_pairs // 2, 1)])
        if len(builder) > most_pairs and len(builder.result()) > most_pairs:
            break
    else:
        yield builder.result()
        return
    with ExitStack() as stack:
        files: list[IO[bytes]] = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(N_FILES)]
        low, high = (np.uint64(secrets.randbits(64) | 1) for _ in range(2))
        _split(builder.result(), files, low, high)
        del builder
        for piece in pieces:
            _split(piece, files, low, high)
        for file in files:
            file.seek(0)
            yield from distinct_parts(_read(file, width), width, most_pairs=most_pairs, folder=folder)


def _split(pairs: Pairs, files: list[IO[bytes]], low: np.uint64, high: np.uint64) -> None:
    mixed = pairs.low * low
    if pairs.high is not None:
        mixed += pairs.high.astype(np.uint64) * high
    number = mixed >> np.uint64(64 - (N_FILES - 1).bit_length())
    for index, file in enumerate(files):
        part = pairs[number == index]
        for start in range(0, len(part), READ_PAIRS):
            some = part[start : start + READ_PAIRS]
            file.write(len(some).to_bytes(4, "little"))
            file.write(pack(some, np.array([0, len(some)]))[0].data)


def _read(file: IO[bytes], width: int) -> Iterator[Pairs]:
    while head := file.read(4):
        yield unpack(file.read(int.from_bytes(head, "little") * pair_bytes(width)), width)
