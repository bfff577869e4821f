"""The decoy test: a p-value that needs no formula.

H0: the true value key and N decoy keys, drawn uniformly by the same procedure, are exchangeable given the text.
p = (1 + number of decoys that score at least as high) / (N + 1); ties count against the true key. Exact.
Decoys keep the selector, so that all keys score the same pairs.
(Barnard 1963, discussion of Bartlett, J. R. Stat. Soc. B 25; Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.distinct import Pairs
from verify.scoring import channel_blocks
from watermark.keys import AES_BYTES, ValueKey
from watermark.prf import CHUNK_BLOCKS, Prf
from watermark.secret import Secret

KEYS_AT_ONCE: Final = 256


@dataclass(frozen=True)
class DecoyRank:
    """Where the true key stands.

    Attributes:
        n: decoys.
        rank: 1 is the top; decoys that tie stand before the true key.
        seed: of the generator that drew them.
    """

    n: int
    rank: int
    seed: int

    @property
    def log10_p(self) -> float:
        """log10 of rank / (n + 1)."""
        return log10(self.rank) - log10(self.n + 1)


def rank(
    pairs: Pairs, key: ValueKey, *, n: int, seed: int, progress: Callable[[int], None] = lambda done: None
) -> DecoyRank:
    """Rank the true key among decoys on the same distinct pairs.

    Args:
        pairs: distinct pairs of a corpus that was chosen without the key.
        key: the true key.
        n: number of decoys, at least 1.
        seed: of `numpy.random.Generator(PCG64)`, for the decoys' 16 bytes each.
        progress: called with the number of decoys done since the last call.
    """
    if n < 1:
        raise ValueError(f"{n} decoys are not at least one")
    scheme = key.deployment.scheme
    blocks = np.concatenate([*channel_blocks(pairs, key), np.empty((0, 4), dtype=np.uint32)])
    chunks = [blocks[start : start + CHUNK_BLOCKS] for start in range(0, len(blocks), CHUNK_BLOCKS)]
    generator = np.random.Generator(np.random.PCG64(seed))

    def totals(keys: list[Secret]) -> NDArray[np.int64]:
        prfs, sums = [Prf(k) for k in keys], np.zeros(len(keys), dtype=np.int64)
        for chunk in chunks:  # the outer loop, so that a chunk stays in the cache for all keys
            for i, prf in enumerate(prfs):
                sums[i] += scheme.score(prf.words(chunk)).sum()
        return sums

    true, beaten_by = totals([key.value])[0], 0
    for start in range(0, n, KEYS_AT_ONCE):
        count = min(KEYS_AT_ONCE, n - start)
        beaten_by += int((totals([Secret(generator.bytes(AES_BYTES)) for _ in range(count)]) >= true).sum())
        progress(count)
    return DecoyRank(n=n, rank=1 + beaten_by, seed=seed)
