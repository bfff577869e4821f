"""Green list: keyed tokens get delta more logits. It distorts: use it to compare, not to serve.

Symbols: gamma share of green tokens, delta what a green logit gains.
Tilt: softmax(logits + delta 1[u < gamma]), drawn with leaf randomness (Kirchenbauer et al. 2023, arXiv 2301.10226,
algorithm 2, here after temperature and truncation).
Score: 1 for a green token, Binomial(n, gamma) under H0. The threshold is rounded down, so the tail is a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nextafter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.prf import Words, gumbel_noise
from watermark.schemes import Indices, Logits, Scheme, WordsOf, decimal, refuse_rest, take_millionths
from watermark.schemes.laws import BernoulliLaw
from watermark.schemes.maxima import first_maxima, gumbel_max


@dataclass(frozen=True)
class GreenList(Scheme):
    """Green list.

    Attributes:
        gamma: share of green tokens, in millionths.
        delta: logits a green token gains, in millionths.
    """

    gamma: int = 250_000
    delta: int = 2_000_000

    name: ClassVar[str] = "greenlist"
    distortion_free: ClassVar[bool] = False
    uses_leaf: ClassVar[bool] = True
    sparse: ClassVar[bool] = True

    @classmethod
    def from_params(cls, params: dict[str, str]) -> GreenList:
        """See `Scheme.from_params`."""
        params = dict(params)
        gamma = take_millionths(params, "gamma", "0.25")
        delta = take_millionths(params, "delta", "2")
        refuse_rest(cls.name, params)
        if not 0 < gamma < 1_000_000:
            raise KeyFileError(f"gamma={decimal(gamma)} is not between 0 and 1")
        if delta > 100_000_000:
            raise KeyFileError(f"delta={decimal(delta)} is above 100")
        return cls(gamma=gamma, delta=delta)

    @property
    def spec(self) -> str:
        """See `Scheme.spec`."""
        return f"{self.name}:delta={decimal(self.delta)},gamma={decimal(self.gamma)}"

    @property
    def full_excess(self) -> float | None:
        """See `Scheme.full_excess`: measured for the default parameters alone."""
        return 0.19 if self == type(self)() else None

    @property
    def law(self) -> BernoulliLaw:
        """A green token with probability gamma, from above: also the nearest double could lie below."""
        return BernoulliLaw(p=nextafter(self.gamma / 1_000_000, 1.0))

    def draw(self, logits: Logits, words: WordsOf, leaf: WordsOf) -> int:
        """Tilt, then draw with leaf randomness."""
        gain = self.delta / 1_000_000
        return gumbel_max(logits, leaf, bonus=lambda at: gain * self._green(words(at)), most=gain)

    def draw_rows(self, logits: Logits, starts: Indices, words: Words, leaf: Words) -> Indices:
        """See `Scheme.draw_rows`."""
        gain = self.delta / 1_000_000
        return first_maxima(gumbel_noise(leaf[:, 0]) + logits + gain * self._green(words), starts)

    def score(self, words: Words) -> NDArray[np.int64]:
        """One for green."""
        return self._green(words).astype(np.int64)

    def _green(self, words: Words) -> NDArray[np.bool_]:
        return words[:, 0] < np.uint64((self.gamma << 64) // 1_000_000)


SCHEME = GreenList
