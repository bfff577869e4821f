"""The score as the text goes on, and the histogram of decoys: for pictures, and still right."""

import numpy as np
import pytest

from tests.conftest import make_epoch
from verify.distinct import Pairs, concatenate
from verify.hypotheses.decoys import rank
from verify.measured import checkpoints
from verify.measuring.accumulation import Accumulation
from verify.scoring import score, summarize
from watermark.windows import TokenBatch


def pairs_of(ids, width):
    taken = []
    batch = TokenBatch(np.asarray(ids, dtype=np.uint32), np.array([0, len(ids)]))
    summary = summarize(batch, width, skip_repeated=False, take=taken.append)
    return taken[0], summary


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("shares", ["fleet=1", "fleet=0.5,leaf=0.5"])
def test_rows_are_prefix_scores_however_the_text_is_cut(width, shares):
    rng = np.random.default_rng(width)
    pairs, summary = pairs_of(rng.integers(0, 40, 3000), width)
    key = make_epoch(width=width, shares=shares).value_key("fleet")
    whole = Accumulation(key)
    whole.add(pairs)
    rows = list(whole.rows())
    cut = Accumulation(key)
    for part in np.array_split(np.arange(len(pairs)), 7):
        cut.add(pairs[part])
    assert list(cut.rows()) == rows
    everything = score(summary.pairs, key)
    assert rows[-1] == (len(pairs), everything.n, everything.total)
    for tokens, n, total in rows:
        from verify.distinct import distinct

        prefix = score(distinct(pairs[:tokens]), key)
        assert (prefix.n, prefix.total) == (n, total)
    marks = checkpoints()
    assert [tokens for tokens, _, _ in rows[:-1]] == [next(marks) for _ in rows[:-1]]


def test_no_tokens_no_rows():
    assert list(Accumulation(make_epoch().value_key("fleet")).rows()) == []


def test_a_text_without_a_window_of_the_channel_has_rows_of_nothing():
    key = make_epoch(shares="account=0.000001,leaf=0.999999").value_key("account", "1")
    going = Accumulation(key)
    pairs, _ = pairs_of(np.arange(500), 2)
    going.add(concatenate([pairs, pairs]))
    assert {row[1:] for row in going.rows()} == {(0, 0)}


def test_decoys_stand_where_their_law_puts_them():
    """A histogram of 4,000 standardized sums of 400 exponentials: mean 0 and deviation 1, to what chance allows."""
    pairs, _ = pairs_of(np.random.default_rng(0).permutation(402), 2)
    found = rank(pairs, make_epoch(shares="fleet=1").value_key("fleet"), n=4000)
    counts = np.array(found.histogram)
    assert counts.sum() == found.n == 4000
    middles = np.concatenate([[-6.125], np.arange(-24, 24) / 4 + 0.125, [6.125]])
    mean = (counts * middles).sum() / 4000
    deviation = np.sqrt((counts * middles**2).sum() / 4000 - mean**2)
    assert abs(mean) < 5 / 4000**0.5
    assert abs(deviation - 1) < 0.06
    assert isinstance(pairs, Pairs)
