"""The decoy test for engines' own marks: a p-value that needs neither a formula nor a good PRF.

H0: the true key and N decoy keys, drawn uniformly with as many bytes, are exchangeable given the text.
p = (1 + number of decoys that score at least as high) / (N + 1); exact, whatever the engine's function is.
Decoys are drawn from a code of the pairs' digest under the key: nobody can choose them, and they are others for every
key. What is printed as the seed is the digest alone, since a code under a short key gives the key away.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from hashlib import sha256
from math import sqrt

import numpy as np

from verify.hypotheses.decoys import EDGES, DecoyRank
from verify.native.pairs import Corpus
from watermark.native import AnyMark
from watermark.native.laws import Scored, Shifts


def statistic(scored: Scored) -> float:
    """The sum in standard deviations from its mean: keys may differ in how many inputs they tell apart."""
    mean = scored.n * scored.law.mean
    total = scored.total / scored.law.layers if isinstance(scored.law, Shifts) else scored.total
    return (total - mean) / sqrt(max(scored.n * scored.law.variance, 1e-300))


def rank(corpus: Corpus, mark: AnyMark, *, n: int, progress: Callable[[int], None] = lambda done: None) -> DecoyRank:
    """Rank the true key among `n` decoys on the same distinct pairs.

    Args:
        corpus: text that was chosen without the key.
        mark: with the true key.
        n: at least 1.
        progress: called with the number of decoys done since the last call.
    """
    if n < 1:
        raise ValueError(f"{n} decoys are not at least one")
    order = np.lexsort(corpus.rows.T)
    seed = sha256(corpus.rows[order].astype("<u4").tobytes() + mark.name.encode())
    own = hmac.digest(mark.secret.reveal(), seed.digest(), "sha256")
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(own, "little")))
    inputs = mark.inputs(corpus.windows, corpus.tokens)
    true, above, histogram = statistic(mark.score(inputs)), 0, np.zeros(len(EDGES) + 1, dtype=np.int64)
    for _ in range(n):
        z = statistic(mark.rekeyed(generator.bytes(mark.decoy_bytes)).score(inputs))
        above += z >= true
        histogram[np.searchsorted(EDGES, z, side="right")] += 1
        progress(1)
    return DecoyRank(n=n, rank=1 + above, seed=seed.hexdigest(), histogram=tuple(histogram.tolist()))
