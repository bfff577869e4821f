"""The decoy test: a p-value that needs no formula.

H0: the true value key and N decoy keys, drawn uniformly by the same procedure, are exchangeable given the text.
The decoys are drawn from a digest of the distinct pairs and the key's id: nobody can choose a text with the decoys in
hand, and nobody can choose the decoys.
p = (1 + number of decoys that score at least as high) / (N + 1); ties count against the true key. Exact.
Decoys keep the selector, so that all keys score the same pairs.
(Barnard 1963, discussion of Bartlett, J. R. Stat. Soc. B 25; Phipson & Smyth 2010, Stat. Appl. Genet. Mol. Biol. 9.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from math import log10, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from verify.distinct import Pairs
from verify.scoring import channel_blocks
from watermark.keys import AES_BYTES, ValueKey
from watermark.prf import CHUNK_BLOCKS, Prf
from watermark.secret import Secret

KEYS_AT_ONCE: Final = 256
EDGES: Final = np.arange(-24, 25) / 4  # of the histogram of z


@dataclass(frozen=True)
class DecoyRank:
    """Where the true key stands.

    Attributes:
        n: decoys.
        rank: 1 is the top; decoys that tie stand before the true key.
        seed: 64 hexadecimal digits, SHA-256 of the pairs' canonical bytes and the key's id.
        histogram: how many decoys have which z, their distance from the mean in standard deviations of H0: below -6,
            then 48 steps of a quarter, then from 6 on.
    """

    n: int
    rank: int
    seed: str
    histogram: tuple[int, ...]

    @property
    def log10_p(self) -> float:
        """log10 of rank / (n + 1)."""
        return log10(self.rank) - log10(self.n + 1)


def seed_of(pairs: Pairs, key: ValueKey) -> str:
    """The seed of the decoys of a corpus and a key."""
    ordered = pairs.ascending()
    digest = sha256(ordered.low.astype("<u8").tobytes())
    if ordered.high is not None:
        digest.update(ordered.high.astype("<u2").tobytes())
    digest.update(key.id.encode())
    return digest.hexdigest()


def draw_decoys(seed: str, n: int) -> Iterator[Secret]:
    """`n` decoy keys: 16 bytes each of a PCG64 stream seeded with the integer `seed`."""
    generator = np.random.Generator(np.random.PCG64(int(seed, 16)))
    for _ in range(n):
        yield Secret(generator.bytes(AES_BYTES))


def rank(pairs: Pairs, key: ValueKey, *, n: int, progress: Callable[[int], None] = lambda done: None) -> DecoyRank:
    """Rank the true key among decoys on the same distinct pairs.

    Args:
        pairs: distinct pairs of a corpus that was chosen without the key.
        key: the true key.
        n: number of decoys, at least 1.
        progress: called with the number of decoys done since the last call.
    """
    if n < 1:
        raise ValueError(f"{n} decoys are not at least one")
    scheme = key.deployment.scheme
    blocks = np.concatenate([*channel_blocks(pairs, key), np.empty((0, 4), dtype=np.uint32)])
    chunks = [blocks[start : start + CHUNK_BLOCKS] for start in range(0, len(blocks), CHUNK_BLOCKS)]
    seed = seed_of(pairs, key)
    decoys = draw_decoys(seed, n)

    def totals(keys: list[Secret]) -> NDArray[np.int64]:
        prfs, sums = [Prf(k) for k in keys], np.zeros(len(keys), dtype=np.int64)
        for chunk in chunks:  # the outer loop, so that a chunk stays in the cache for all keys
            for i, prf in enumerate(prfs):
                sums[i] += scheme.score(prf.words(chunk)).sum()
        return sums

    true, beaten_by, histogram = totals([key.value])[0], 0, np.zeros(len(EDGES) + 1, dtype=np.int64)
    law, size = scheme.law, len(blocks)
    while some := list(islice(decoys, KEYS_AT_ONCE)):
        sums = totals(some)
        beaten_by += int((sums >= true).sum())
        z = (sums / law.unit - size * law.mean) / sqrt(max(size, 1) * law.variance)
        histogram += np.bincount(np.searchsorted(EDGES, z, side="right"), minlength=len(histogram))
        progress(len(some))
    return DecoyRank(n=n, rank=1 + beaten_by, seed=seed, histogram=tuple(histogram.tolist()))
