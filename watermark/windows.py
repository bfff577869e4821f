"""Windows, the first marked position, repeats: the one home of every off-by-one.

Symbols: h window width, T tokens of a batch, D documents, t position in a response (0 is its first token).

Position t >= h of a response has the window (r[t-h], ..., r[t-1]) and the pair (window, r[t]).
It is *eligible*, for the sampler to mark and for the verifier to score, if and only if no earlier position of the
same response had the same window. Prompt tokens are never part of a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from watermark.errors import Error

ID_BITS: Final = 20
MAX_ID: Final = (1 << ID_BITS) - 1

Ids = NDArray[np.uint32]
Keys = NDArray[np.uint64]

# Odd 64-bit multipliers (fractional parts of square roots of 2, 3, 5, 7), for multiplicative hashing (Knuth 6.4).
_MULTIPLIERS: Final = tuple(
    np.uint64(m) for m in (0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1)
)
_MIX: Final = np.uint64(0x510E527FADE682D1)  # of 11


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


def window_keys(ids: Ids, at: NDArray[np.int64], width: int) -> Keys:
    """The windows before the flat indices `at` as integers: 20 bits an id, oldest id highest. (n,) uint64."""
    key = ids[at - width].astype(np.uint64)
    for back in range(width - 1, 0, -1):
        key <<= np.uint64(ID_BITS)
        key |= ids[at - back]
    return key


def repeated(batch: TokenBatch, at: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Which of the positions `at` (all of `windowed`) have a window that their response already used: (n,) bool."""
    window, document = window_keys(batch.ids, at, width), batch.document_of()[at]
    if ID_BITS * width + len(batch.offsets).bit_length() <= 64:
        window |= document.astype(np.uint64) << np.uint64(ID_BITS * width)
        return ~first_occurrences(window, None)
    return ~first_occurrences(window, document)


def first_occurrences(low: Keys, high: NDArray[np.unsignedinteger[Any]] | None) -> NDArray[np.bool_]:
    """Which items no earlier item equals: (n,) bool. Exact: a hash only says where to look.

    Args:
        low: (n,) uint64.
        high: (n,) unsigned, a second column, or None.
    """
    first = np.zeros(len(low), dtype=bool)
    table_bits = max((2 * len(low)).bit_length(), 6)
    table = np.empty(1 << table_bits, dtype=np.int32 if len(low) < 1 << 31 else np.int64)
    todo = np.arange(len(low), dtype=table.dtype)
    for multiplier in _MULTIPLIERS:
        key, other = (low, high) if len(todo) == len(low) else (low[todo], None if high is None else high[todo])
        mixed = key if other is None else key ^ (other.astype(np.uint64) * _MIX)
        slot = ((mixed * multiplier) >> np.uint64(64 - table_bits)).view(np.int64)
        # Of several values for one slot the last is kept: written backwards, that is the earliest item.
        table[slot[::-1]] = todo[::-1]
        found = table[slot]
        first[todo[found == todo]] = True
        differs = low[found] != key
        if high is not None:
            differs |= high[found] != other
        todo = todo[differs]
        if not len(todo):
            return first
    # Only text made to collide gets here.
    columns = (low[todo],) if high is None else (low[todo], high[todo])
    order = np.lexsort((todo, *columns))
    new = np.ones(len(todo), dtype=bool)
    new[1:] = np.any([c[order][1:] != c[order][:-1] for c in columns], axis=0)
    first[todo[order[new]]] = True
    return first


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
