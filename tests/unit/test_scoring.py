"""Scores and decoy ranks against a plain re-computation, pair by pair."""

from math import log10

import numpy as np
import pytest

from tests.conftest import make_epoch
from verify.hypotheses.decoys import draw_decoys, rank, seed_of
from verify.scoring import score, summarize
from watermark.keys import ValueKey
from watermark.prf import CHUNK_BLOCKS, Prf, pack_blocks
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
    pairs, count = pairs_of(n), 30
    key = make_epoch(shares=SHARES).value_key("fleet")
    decoys = list(draw_decoys(seed_of(pairs, key), count))
    totals = [score(pairs, ValueKey(d, key.selector, key.path, key.deployment)).total for d in decoys]
    done = []
    r = rank(pairs, key, n=count, progress=done.append)
    assert r.rank == 1 + sum(t >= score(pairs, key).total for t in totals)
    assert r.log10_p == pytest.approx(log10(r.rank / (count + 1)))
    assert sum(done) == count


def test_rank_needs_a_decoy():
    with pytest.raises(ValueError, match="0 decoys are not at least one"):
        rank(pairs_of(100), make_epoch().value_key("fleet"), n=0)


def test_decoys_follow_from_the_text_and_the_key_and_from_nothing_else():
    pairs, key = pairs_of(500), make_epoch(1).value_key("fleet")
    seed = seed_of(pairs, key)
    assert seed_of(pairs[np.random.default_rng(0).permutation(len(pairs))], key) == seed
    assert len({seed, seed_of(pairs[:-1], key), seed_of(pairs, make_epoch(2).value_key("fleet"))}) == 3
    keys = [k.reveal() for k in draw_decoys(seed, 100)]
    assert len(set(keys)) == 100
    assert keys[:50] == [k.reveal() for k in draw_decoys(seed, 50)]
