"""Which channel a window uses: a PRF of the epoch's selector key and the window alone.

Normative text: docs/spec/prf.md, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from watermark.errors import KeyFileError
from watermark.prf import Prf, pack_blocks

CHANNELS: Final = ("fleet", "cohort", "account", "leaf")
LEAF: Final = CHANNELS.index("leaf")
WHOLE: Final = 1_000_000


@dataclass(frozen=True)
class Shares:
    """How the windows are split among the channels, in parts per million.

    Attributes:
        ppm: one integer per channel of `CHANNELS`, which add up to 1,000,000.
    """

    ppm: tuple[int, int, int, int]

    def __post_init__(self) -> None:
        whole_numbers = all(isinstance(x, int) and not isinstance(x, bool) and x >= 0 for x in self.ppm)
        if len(self.ppm) != len(CHANNELS) or not whole_numbers or sum(self.ppm) != WHOLE:
            raise KeyFileError(
                f"channel shares {str(self.ppm)[:80]} are not four parts per million that add up to {WHOLE}"
            )

    @classmethod
    def from_mapping(cls, ppm: dict[str, int]) -> Shares:
        """Shares from channel name to parts per million; a channel left out has none."""
        unknown = sorted(set(ppm) - set(CHANNELS))
        if unknown:
            raise KeyFileError(f"unknown channel {unknown[0][:60]!r}", hint=f"channels are {', '.join(CHANNELS)}")
        fleet, cohort, account, leaf = (ppm.get(name, 0) for name in CHANNELS)
        return cls((fleet, cohort, account, leaf))

    @classmethod
    def parse(cls, text: str) -> Shares:
        """Shares as a person writes them: `fleet=0.75,leaf=0.25`."""
        ppm: dict[str, int] = {}
        for part in text.split(","):
            name, equals, value = part.strip().partition("=")
            try:
                share = float(value) * WHOLE
                if not equals or name in ppm or not 0 <= share <= WHOLE or abs(share - round(share)) > 1e-6:
                    raise ValueError
            except ValueError:
                raise KeyFileError(
                    f"channel shares {text[:60]!r} are not of the form fleet=0.75,leaf=0.25",
                    hint="each channel once, each share between 0 and 1 in whole millionths, the sum 1",
                ) from None
            ppm[name] = round(share)
        if sum(ppm.values()) != WHOLE:
            raise KeyFileError(f"channel shares {text[:60]!r} add up to {sum(ppm.values()) / WHOLE:g}, expected 1")
        return cls.from_mapping(ppm)

    def mapping(self) -> dict[str, int]:
        """Channel name to parts per million, channels without a share left out."""
        return {name: x for name, x in zip(CHANNELS, self.ppm, strict=True) if x}

    def canonical(self) -> str:
        """The string that enters key ids."""
        return ",".join(f"{name}={x}" for name, x in self.mapping().items())

    def edges(self) -> NDArray[np.uint64]:
        """(5,) uint64: channel i owns selector values x with edges[i] <= x < edges[i + 1]."""
        total, edges = 0, [0]
        for x in self.ppm:
            total += x
            edges.append((total << 32) // WHOLE)
        return np.array(edges, dtype=np.uint64)


def select(selector: Prf, shares: Shares, windows: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Channel of each window.

    Args:
        selector: PRF under the epoch's selector key.
        shares: the deployment's shares.
        windows: (n, h) uint32.

    Returns:
        (n,) indices into `CHANNELS`.
    """
    return channel_of(shares.edges(), selector.first_words(pack_blocks(windows, None)) & np.uint64(0xFFFFFFFF))


def channel_of(edges: NDArray[np.uint64], x: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Index into `CHANNELS` of selector values below 2^32."""
    return np.searchsorted(edges[1:-1], x, side="right")
