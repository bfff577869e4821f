"""Tournament: m layers of two-way tournaments on keyed bits. Distortion-free.

Symbols: m layers, g_l(v) the keyed bit of (window, v) in layer l, p_l the law after l layers.
Tilt: p_{l+1}(v) = p_l(v) (1 + g_l(v) - sum_u p_l(u) g_l(u)), then a draw from p_m with leaf randomness
(SynthID-Text: Dathathri et al. 2024, Nature 634, 818-823, two-candidate case in closed form).
Score: sum_l W(l) g_l with weights falling from 10 to 1, as the early layers carry more of the mark.
Under H0 the bits are fair and independent, so the sum is a weighted sum of binomials, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.prf import Words
from watermark.schemes import Logits, Scheme, WordsOf, refuse_rest
from watermark.schemes.laws import WeightedBitsLaw
from watermark.schemes.maxima import chunks, gumbel_max

MAX_LAYERS: Final = 128
ONE: Final = 0x3FF << 52  # 1.0 in IEEE double precision
DEFAULT_LAYERS: Final = 30  # as in the published SynthID-Text configuration


@dataclass(frozen=True)
class Tournament(Scheme):
    """Two-way tournament.

    Attributes:
        layers: m, 1 to 128: one PRF bit each.
    """

    layers: int = DEFAULT_LAYERS

    name: ClassVar[str] = "tournament"
    distortion_free: ClassVar[bool] = True
    uses_leaf: ClassVar[bool] = True
    sparse: ClassVar[bool] = False

    @classmethod
    def from_params(cls, params: dict[str, str]) -> Tournament:
        """See `Scheme.from_params`."""
        params = dict(params)
        text = params.pop("layers", str(DEFAULT_LAYERS))
        refuse_rest(cls.name, params)
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= MAX_LAYERS):
            raise KeyFileError(f"layers={text[:60]!r} is not a whole number in 1..{MAX_LAYERS}")
        return cls(layers=int(text))

    @property
    def spec(self) -> str:
        """See `Scheme.spec`."""
        return f"{self.name}:layers={self.layers}"

    @property
    def weights(self) -> tuple[int, ...]:
        """W(l) = 1 + 10 (m-1-l) // m."""
        return tuple(1 + 10 * (self.layers - 1 - layer) // self.layers for layer in range(self.layers))

    @property
    def full_excess(self) -> float | None:
        """See `Scheme.full_excess`: measured for the default parameters alone."""
        return 0.067 if self.layers == DEFAULT_LAYERS else None

    @property
    def law(self) -> WeightedBitsLaw:
        """A weighted sum of fair bits, exactly."""
        return WeightedBitsLaw(self.weights)

    def draw(self, logits: Logits, words: WordsOf, leaf: WordsOf) -> int:
        """Tilt layer by layer, then draw with leaf randomness."""
        p = np.exp(logits.astype(np.float64) - logits.max())
        p /= p.sum()
        keyed = [(p[part], np.ascontiguousarray(words(part).T)) for part in chunks(len(p))]
        bits = [np.empty(len(q)) for q, _ in keyed]
        product = np.empty(len(bits[0]))
        for layer in range(self.layers):
            green = 0.0
            for (q, w), g in zip(keyed, bits, strict=True):
                _bit(w, layer, out=g)
                # Sums, not a BLAS call: its threads would fight the engine's.
                green += float(np.multiply(q, g, out=product[: len(q)]).sum())
            for (q, _), g in zip(keyed, bits, strict=True):
                g += 1.0 - green
                q *= g
        with np.errstate(divide="ignore"):
            np.log(np.maximum(p, 0.0, out=p), out=p)  # rounding may leave a zero slightly below
        return gumbel_max(p, leaf)

    def score(self, words: Words) -> NDArray[np.int64]:
        """Weighted sum of bits."""
        total = np.zeros(len(words), dtype=np.int64)
        for start in range(0, self.layers, 8):
            byte = (words[:, start // 64] >> np.uint64(start % 64)) & np.uint64(0xFF)
            weights = np.array([*self.weights[start : start + 8], *[0] * 8][:8])
            # One look-up adds eight layers at once.
            table = (np.arange(256)[:, None] >> np.arange(8) & 1) @ weights
            total += table.take(byte.view(np.int64))
        return total


def _bit(words: Words, layer: int, *, out: NDArray[np.float64]) -> None:
    """Bit `layer` of (2, n) words as 0.0 or 1.0: spread over all 64 bits, it masks the bits of 1.0."""
    bits = out.view(np.int64)
    np.left_shift(words[layer // 64].view(np.int64), 63 - layer % 64, out=bits)
    np.right_shift(bits, 63, out=bits)
    np.bitwise_and(bits, ONE, out=bits)


SCHEME = Tournament
