"""Scores and decoy ranks against a plain re-computation, pair by pair."""

from math import log10

import numpy as np
import pytest

from tests.conftest import make_epoch
from verify.hypotheses.decoys import rank
from verify.scoring import score, summarize
from watermark.keys import ValueKey
from watermark.prf import CHUNK_BLOCKS, Prf, pack_blocks
from watermark.secret import Secret
from watermark.windows import TokenBatch

SHARES = "fleet=0.3,cohort=0.2,account=0.3,leaf=0.2"
EDGES = {"fleet": (0.0, 0.3), "cohort": (0.3, 0.5), "account": (0.5, 0.8)}


def pairs_of(n, width=2, seed=0):
    ids = np.random.default_rng(seed).integers(0, 40_000, n, dtype=np.uint32)
    return summarize(TokenBatch(ids, np.array([0, n])), width).pairs


def plain_scores(pairs, key):
    """Integer scores of the key's own channel, one pair at a time."""
    low, high = EDGES[key.channel]
    selector, value = Prf(key.selector), Prf(key.value)
    out = []
    for window, token in zip(pairs.windows(), pairs.tokens(), strict=True):
        block = pack_blocks(window[None], None)
        if low <= (int(selector.words(block)[0, 0]) % 2**32) / 2**32 < high:
            out.append(int(key.deployment.scheme.score(value.words(pack_blocks(window[None], token[None])))[0]))
    return out


@pytest.mark.parametrize("channel", ["fleet", "cohort", "account"])
@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_score_is_the_sum_over_the_pairs_of_the_keys_own_channel(scheme, channel):
    pairs = pairs_of(1500)
    key = make_epoch(scheme=scheme, shares=SHARES).value_key(channel, "" if channel == "fleet" else "7")
    want, s = plain_scores(pairs, key), score(pairs, key)
    assert (s.n, s.total, s.total_squares) == (len(want), sum(want), sum(x * x for x in want))
    assert s.n_other_channel == len(pairs) - len(want) > 0


@pytest.mark.parametrize("n", [300, CHUNK_BLOCKS + 5000])
def test_rank_counts_the_decoys_that_score_at_least_as_high(n):
    pairs, seed, count = pairs_of(n), 9, 30
    key = make_epoch(shares=SHARES).value_key("fleet")
    generator = np.random.Generator(np.random.PCG64(seed))
    decoys = [Secret(generator.bytes(16)) for _ in range(count)]
    totals = [score(pairs, ValueKey(d, key.selector, key.path, key.deployment)).total for d in decoys]
    done = []
    r = rank(pairs, key, n=count, seed=seed, progress=done.append)
    assert r.rank == 1 + sum(t >= score(pairs, key).total for t in totals)
    assert r.log10_p == pytest.approx(log10(r.rank / (count + 1)))
    assert sum(done) == count


def test_rank_needs_a_decoy():
    with pytest.raises(ValueError, match="0 decoys are not at least one"):
        rank(pairs_of(100), make_epoch().value_key("fleet"), n=0, seed=0)
