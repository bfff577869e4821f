"""Windows, the first marked position, repeats: the one home of every off-by-one.

Symbols: h window width, T tokens of a batch, D documents, t position in a response (0 is its first token).

Position t >= h of a response has the window (r[t-h], ..., r[t-1]) and the pair (window, r[t]).
It is *eligible*, for the sampler to mark and for the verifier to score, if and only if no earlier position of the
same response had the same window. Prompt tokens are never part of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from watermark.errors import Error

ID_BITS: Final = 20
MAX_ID: Final = (1 << ID_BITS) - 1

Ids = NDArray[np.uint32]


@dataclass(frozen=True)
class TokenBatch:
    """Responses laid end to end.

    Attributes:
        ids: (T,) uint32, each at most `MAX_ID`.
        offsets: (D + 1,) int64; document d is ids[offsets[d]:offsets[d + 1]].
    """

    ids: Ids
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.ids.dtype != np.uint32 or self.offsets.dtype != np.int64:
            raise TypeError(f"ids are {self.ids.dtype} and offsets {self.offsets.dtype}, not uint32 and int64")
        if self.ids.size and int(self.ids.max()) > MAX_ID:
            raise Error(f"token id {int(self.ids.max())} is above {MAX_ID}")
        o = self.offsets
        if o.size < 1 or o[0] != 0 or o[-1] != self.ids.size or (o[1:] < o[:-1]).any():
            raise ValueError("offsets do not run from 0 to the number of ids")

    @classmethod
    def from_documents(cls, documents: list[Ids]) -> TokenBatch:
        """Concatenate documents."""
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        np.cumsum([len(d) for d in documents], out=offsets[1:])
        ids = np.concatenate(documents) if documents else np.empty(0)
        return cls(ids.astype(np.uint32, copy=False), offsets)

    def document_of(self) -> NDArray[np.uint32]:
        """(T,) index of each token's document."""
        return np.repeat(np.arange(len(self.offsets) - 1, dtype=np.uint32), np.diff(self.offsets))


def windowed(batch: TokenBatch, width: int) -> NDArray[np.int64]:
    """Flat indices of all positions t >= h, in order."""
    starts = batch.offsets[:-1, None] + np.arange(width)
    inside = np.ones(batch.ids.size, dtype=bool)
    inside[starts[starts < batch.offsets[1:, None]]] = False
    return np.flatnonzero(inside)


def windows_at(ids: Ids, at: NDArray[np.int64], width: int) -> Ids:
    """(n, h) uint32 windows before the flat indices `at`, oldest id first."""
    out = np.empty((at.size, width), dtype=np.uint32)
    for column in range(width):
        np.take(ids, at - (width - column), out=out[:, column])
    return out


def pack(columns: list[Ids]) -> NDArray[np.uint64]:
    """Ids side by side in 20-bit fields, first column highest: at most three columns. (n,) uint64."""
    key = columns[0].astype(np.uint64)
    for column in columns[1:]:
        key <<= np.uint64(ID_BITS)
        key |= column
    return key


def repeated(batch: TokenBatch, at: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Which of the positions `at` (all of `windowed`) have a window that their response already used: (n,) bool."""
    key = pack([batch.ids[at - (width - column)] for column in range(width)])
    order, same = _ordered(key, ID_BITS * width)
    document = batch.document_of()[at][order]
    out = np.zeros(at.size, dtype=bool)
    out[order[1:][same & (document[1:] == document[:-1])]] = True
    return out


def _ordered(key: NDArray[np.uint64], bits: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """A stable sorting order of `key`, and for each sorted item but the first whether it equals the one before."""
    # Sorting values with the position in their low bits is several times faster than a stable argsort.
    place_bits = max(key.size.bit_length(), 1)
    if bits + place_bits > 64:
        rough = np.argsort(key)
        ranks = np.zeros(key.size, dtype=np.uint64)
        np.cumsum(key[rough][1:] != key[rough][:-1], out=ranks[1:])
        packed = (ranks << np.uint64(place_bits)) | rough.astype(np.uint64)
    else:
        packed = (key << np.uint64(place_bits)) | np.arange(key.size, dtype=np.uint64)
    packed.sort()
    order = (packed & np.uint64((1 << place_bits) - 1)).astype(np.intp)
    packed >>= np.uint64(place_bits)
    return order, packed[1:] == packed[:-1]


class Tracker:
    """The same rule, one token at a time, for a sampler.

    Args:
        width: h.
    """

    __slots__ = ("_used", "tokens", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        self.tokens: list[int] = []
        self._used: set[tuple[int, ...]] = set()

    def window(self) -> tuple[int, ...] | None:
        """The window before the next token, or None in the first h positions."""
        return tuple(self.tokens[-self.width :]) if len(self.tokens) >= self.width else None

    def is_used(self, window: tuple[int, ...]) -> bool:
        """Whether an earlier position of this response had `window`."""
        return window in self._used

    def append(self, token: int) -> None:
        """Take the token that was drawn.

        Raises:
            Error: a negative id (an engine's placeholder) or one above `MAX_ID`.
        """
        if not 0 <= token <= MAX_ID:
            raise Error(
                f"token id {token} is not in 0..{MAX_ID}",
                hint="a negative id is an engine's placeholder: turn asynchronous scheduling off",
            )
        window = self.window()
        if window is not None:
            self._used.add(window)
        self.tokens.append(token)
