"""Gumbel: the token maximises ln p(v) + Gumbel(u(window, v)). Distortion-free.

Symbols: u keyed uniform of (window, token), p the model's law after temperature and truncation.
Draw: argmax_v ln p(v) - ln(-ln u_v), which is p over a random key (Gumbel 1954; Aaronson 2022, "My AI safety
lecture for UT Effective Altruism"; Kuditipudi et al. 2023, arXiv 2307.15593).
Score: -ln(1 - u), Exp(1) under H0 (Fernandez et al. 2023, arXiv 2308.00113, eq. 5).
The integer score is floored in every step, so the sum's tail is at most Gamma(n, 1)'s; the floor costs 1e-4 of a
nat per pair on average.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from watermark.prf import Words, gumbel_noise
from watermark.schemes import Indices, Logits, Scheme, WordsOf, refuse_rest
from watermark.schemes.laws import ExponentialLaw
from watermark.schemes.maxima import first_maxima, gumbel_max

TABLE_BITS: Final = 16
UNIT: Final = 1 << 16


@cache
def score_table() -> NDArray[np.int64]:
    """T[i] = floor(-65536 ln(1 - i/65536)), (65536,) int64.

    No entry lies within 1e-6 of the next integer (a test recomputes all of them with mpmath), so every libm and
    every SIMD logarithm gives this table.
    """
    i = np.arange(1 << TABLE_BITS, dtype=np.float64)
    table: NDArray[np.int64] = np.floor(-UNIT * np.log1p(-i / (1 << TABLE_BITS))).astype(np.int64)
    table.flags.writeable = False
    return table


@dataclass(frozen=True)
class Gumbel(Scheme):
    """The default scheme; it has no parameters."""

    name: ClassVar[str] = "gumbel"
    distortion_free: ClassVar[bool] = True
    uses_leaf: ClassVar[bool] = False
    sparse: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: dict[str, str]) -> Gumbel:
        """See `Scheme.from_params`."""
        refuse_rest(cls.name, params)
        return cls()

    @property
    def spec(self) -> str:
        """See `Scheme.spec`."""
        return self.name

    @property
    def full_excess(self) -> float:
        """See `Scheme.full_excess`."""
        return 0.91

    @property
    def law(self) -> ExponentialLaw:
        """Exp(1) in nats, from above."""
        return ExponentialLaw(unit=UNIT, mean=float(score_table().mean()) / UNIT, table=score_table())

    def draw(self, logits: Logits, words: WordsOf, leaf: WordsOf) -> int:
        """Keyed Gumbel-max; no leaf randomness."""
        return gumbel_max(logits, words)

    def draw_rows(self, logits: Logits, starts: Indices, words: Words, leaf: Words) -> Indices:
        """See `Scheme.draw_rows`."""
        return first_maxima(gumbel_noise(words[:, 0]) + logits, starts)

    def score(self, words: Words) -> NDArray[np.int64]:
        """Table look-up of the top 16 bits."""
        # Signed indices spare a conversion, which would cost more than the look-up.
        scores: NDArray[np.int64] = score_table().take((words[:, 0] >> np.uint64(64 - TABLE_BITS)).view(np.int64))
        return scores


SCHEME = Gumbel
