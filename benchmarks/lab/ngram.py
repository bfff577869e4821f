"""Interpolated n-gram models: a teacher that draws, and students that count, millions of tokens a second.

Symbols: V vocabulary, w a token, b the token before it, a the one before that, c(.) weighted counts, N all tokens,
k1, k2, k3 concentrations.

    P(w|ab) = (c(abw) + k3 P(w|b)) / (c(ab.) + k3)
    P(w|b)  = (c(bw)  + k2 P(w))   / (c(b.)  + k2)
    P(w)    = (c(w)   + k1 / V)    / (N      + k1)

This is the hierarchical Dirichlet language model (MacKay & Peto 1995, Natural Language Engineering 1, eq. 13 in two
levels) with concentrations fixed beforehand: K2 and K3 had the lowest perplexity on `corpus.public` among powers of 4,
of a model of the base corpus.
A student's c(abw) stand in 2^24 places by a hash, and are never taken above c(ab.) or c(bw): those that share a place
are a little too high. So a student's P is a score whose sum over w is close to 1; the teacher's draws are exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.lab.corpus import VOCABULARY
from watermark.windows import Ids

V: Final = VOCABULARY
CONTEXT: Final = 2
K1: Final = 1.0
K2: Final = 1024.0
K3: Final = 16.0
BITS: Final = 24
CHUNK: Final = 1 << 20  # tokens looked up together
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio (Knuth, TAOCP vol. 3, section 6.4)

Counts = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ngram:
    """What was counted.

    Attributes:
        one: (V,) c(w).
        two: (V * V,) c(bw).
        pairs: (V * V,) c(ab.).
        three: (2^`BITS`,) c(abw).
    """

    one: Counts
    two: Counts
    pairs: Counts
    three: Counts

    @classmethod
    def of(cls, rows: Ids) -> Ngram:
        """Count (n, L) rows, none of which goes on in the next."""
        return cls(
            one=_counted(rows, V),
            two=_counted(_two(rows[:, :-1], rows[:, 1:]), V * V),
            pairs=_counted(_two(rows[:, :-2], rows[:, 1:-1]), V * V),
            three=_counted(_three(rows[:, :-2], rows[:, 1:-1], rows[:, 2:]), 1 << BITS),
        )

    def plus(self, other: Ngram, *, weight: float = 1.0) -> Ngram:
        """The model of both texts, the other's counted `weight` times."""
        return Ngram(*(x + np.float32(weight) * y for x, y in zip(self._tables(), other._tables(), strict=True)))

    def log_likelihood(self, rows: Ids) -> NDArray[np.float64]:
        """Natural log of the probability of each row's ids from `CONTEXT` on: (n, L) -> (n,)."""
        before = _Before(self)
        parts = [before.log_p(some).sum(axis=1, dtype=np.float64) for some in _chunks(rows)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _tables(self) -> tuple[Counts, Counts, Counts, Counts]:
        return self.one, self.two, self.pairs, self.three


class _Before:
    """Sums and lower orders of a model, ready for look-ups."""

    def __init__(self, model: Ngram) -> None:
        total = model.one.sum(dtype=np.float64)
        self._model = model
        self._p1 = ((model.one + K1 / V) / (total + K1)).astype(np.float32)
        self._sums = model.two.reshape(V, V).sum(axis=1)

    def log_p(self, rows: Ids) -> NDArray[np.float32]:
        """(n, L) -> (n, L - `CONTEXT`)."""
        a, b, w = rows[:, :-2], rows[:, 1:-1], rows[:, 2:]
        c_bw, c_ab = self._model.two[_two(b, w)], self._model.pairs[_two(a, b)]
        c_abw = np.minimum(self._model.three[_three(a, b, w)], np.minimum(c_bw, c_ab))
        p = (c_bw + np.float32(K2) * self._p1[w]) / (self._sums[b] + np.float32(K2))
        found: NDArray[np.float32] = np.log((c_abw + np.float32(K3) * p) / (c_ab + np.float32(K3)))
        return found


class Teacher:
    """Draws from the model of one text: exactly, by going to a random place where the context stands.

    Args:
        text: (N,) ids.
    """

    def __init__(self, text: Ids) -> None:
        self._text = text
        pairs = _two(text[:-1], text[1:])
        self._pairs = np.argsort(pairs[:-1], kind="stable").astype(np.uint32)
        self._first_pair = _starts(pairs[:-1], V * V)
        self._ones = np.argsort(text[:-1], kind="stable").astype(np.uint32)
        self._first_one = _starts(text[:-1], V)

    def draw(self, contexts: Ids, length: int, generator: np.random.Generator) -> Ids:
        """Go on from (n, `CONTEXT`) ids: (n, `length`) ids."""
        a, b = contexts.T
        drawn = np.empty((length, len(contexts)), dtype=np.uint32)
        for step in range(length):
            drawn[step] = self._next(a, b, generator)
            a, b = b, drawn[step]
        return np.ascontiguousarray(drawn.T)

    def _next(self, a: Ids, b: Ids, generator: np.random.Generator) -> Ids:
        # One number decides the order and the place: given that it is below the first share, it is uniform there.
        n, text, u = len(a), self._text, generator.random((4, len(a)))
        found: Ids = text[(u[2] * len(text)).astype(np.intp)]
        anything = u[3] * (len(text) + K1) < K1
        found[anything] = generator.integers(V, size=n)[anything]
        for rank, (key, first, places, k) in enumerate(
            ((b, self._first_one, self._ones, K2), (_two(a, b), self._first_pair, self._pairs, K3))
        ):
            start = first[key]
            count = first[key + 1] - start
            at = u[rank] * (count + k)
            own = np.flatnonzero(at < count)
            found[own] = text[places[start[own] + at[own].astype(np.int64)] + rank + 1]
        return found


def _two(b: Ids, w: Ids) -> Ids:
    return b * np.uint32(V) + w


def _three(a: Ids, b: Ids, w: Ids) -> NDArray[np.uint64]:
    key = _two(a, b).astype(np.uint64) * np.uint64(V) + w
    place: NDArray[np.uint64] = (key * _ODD) >> np.uint64(64 - BITS)
    return place


def _counted(keys: NDArray[Any], size: int) -> Counts:
    return np.bincount(keys.ravel().astype(np.intp), minlength=size).astype(np.float32)


def _starts(keys: NDArray[Any], size: int) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.bincount(keys.astype(np.intp), minlength=size))])


def _chunks(rows: Ids) -> Iterator[Ids]:
    step = max(1, CHUNK // rows.shape[1])
    yield from (rows[i : i + step] for i in range(0, len(rows), step))
