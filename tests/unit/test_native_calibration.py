"""False-alarm rates under the null of the p-values for engines' own marks: random keys, real prose.

Each check fails with probability below 10^-6 if the code is right; seeds are fixed.
"""

import numpy as np
import pytest
from scipy.special import bdtrc, ndtr

from benchmarks.texts import prose_ids
from verify.native.pairs import distinct_rows
from verify.native.tails import log10_p
from verify.native.validity import log10_stated, offset, spread
from verify.tails import binomial_log10_sf, gamma_log10_sf
from watermark.native import murmur
from watermark.native.greenlist import GreenList
from watermark.native.laws import Shifts
from watermark.native.sglang import Gumbel as Sglang
from watermark.native.synthid import SynthId
from watermark.native.vllm import DualKeyGumbel, Gumbel
from watermark.secret import Secret

ALARM = 1e-6
KEY = Secret(bytes(range(1, 9)))
MARKS = {
    "vllm": Gumbel(KEY, 4),
    "vllm two keys": DualKeyGumbel(KEY, 4, 0.1),
    "sglang": Sglang(KEY),
    "sglang two keys": Sglang(KEY, KEY),
    "synthid": SynthId(Secret(bytes(range(240))), 5),
    "synthid, one layer": SynthId(Secret(bytes(range(8))), 3),
    "lefthash": GreenList(KEY, 4096),
    "selfhash": GreenList(Secret(bytes([5, 0, 0, 0, 0, 0, 0, 0])), 4096, 0.25, "selfhash", 2),
}
TRIALS = {"lefthash": 300, "selfhash": 0, "vllm two keys": 120}


def violations(log10, levels=(0.3, 0.1, 0.01, 0.001)):
    counts = [(a, int((log10 <= np.log10(a)).sum())) for a in levels]
    return [a for a, count in counts if count and bdtrc(count - 1, len(log10), a) < ALARM]


def rows_of(width, length, distinct=True):
    ids = prose_ids()[:length]
    rows = np.lib.stride_tricks.sliding_window_view(ids, width + 1)
    return distinct_rows(rows) if distinct else np.ascontiguousarray(rows)


def scores(mark, rows, trials, seed=0):
    """The scores of one text under random keys."""
    draw, inputs = np.random.default_rng(seed), mark.inputs(rows[:, :-1], np.ascontiguousarray(rows[:, -1]))
    return [mark.rekeyed(draw.bytes(mark.decoy_bytes)).score(inputs) for _ in range(trials)]


def tails(found):
    """log10 p of each; scores of one text under one law differ in little but the sum."""
    known = {}
    for s in found:
        if (s.n, s.total) not in known:
            known[s.n, s.total] = log10_p(s.law, s.n, s.total)
    return np.array([known[s.n, s.total] for s in found])


@pytest.mark.parametrize("name", [n for n in MARKS if TRIALS.get(n, 1)])
def test_p_values_are_valid(name):
    mark = MARKS[name]
    found = scores(mark, rows_of(mark.width, 600), TRIALS.get(name, 2000))
    ideal = tails(found)
    assert violations(ideal) == []
    assert violations(np.array([log10_stated(mark, s.n, p) for s, p in zip(found, ideal, strict=True)])) == []
    # Neither is the test dead: at 10 % it rejects at least half as often as it may.
    assert (ideal <= -1).mean() > 0.05


def test_selfhash_over_a_few_keys():
    """Every key takes a permutation of a million: few keys, and the mean of their scores."""
    mark = MARKS["selfhash"]
    found = scores(mark, rows_of(1, 400), 12)
    n, green = sum(s.n for s in found), sum(s.total for s in found)
    z = (green - n * 0.25) / (n * 0.25 * 0.75) ** 0.5
    assert ALARM < ndtr(z) < 1 - ALARM
    assert len({s.total for s in found}) > 3


def test_repeats_would_be_caught():
    """A phrase repeated a thousand times, without distinct, for each family that needs it."""
    for name in ("vllm", "vllm two keys"):
        rows = np.tile(rows_of(4, 60), (100, 1))
        found = scores(MARKS[name], rows, 60)
        assert 0.001 in violations(tails(found))
    # SGLang's and the green list's scorers count an input once whatever they are given.
    for name in ("sglang", "lefthash"):
        once, often = (scores(MARKS[name], np.tile(rows_of(MARKS[name].width, 60), (k, 1)), 1)[0] for k in (1, 50))
        assert (once.n, once.total) == (often.n, often.total)
        assert often.n_same_input > 49 * once.n - 1


def test_sglang_without_collisions_taken_out_would_be_caught():
    """What a scorer that takes every pair for an input would say, where the contexts of pairs collide."""
    mark = MARKS["sglang"]
    rows = np.tile(rows_of(4, 60), (100, 1))
    law = mark.score(mark.inputs(rows[:, :-1], np.ascontiguousarray(rows[:, -1]))).law
    totals = [100 * s.total for s in scores(mark, rows, 150)]
    assert 0.001 in violations(np.array([log10_p(law, len(rows), t) for t in totals]))


def test_synthid_needs_its_exact_law():
    """All n-grams of the prose, repeats included: the binomial fails, the law over keys holds."""
    mark = SynthId(MARKS["synthid"].keys, 3)
    found = scores(mark, rows_of(mark.width, 60_000, distinct=False), 400)
    n, layers = found[0].n, mark.layers
    binomial = np.array([float(binomial_log10_sf(n * layers, 0.5, s.total)) for s in found])
    z = np.array([(s.total - n * layers / 2) / (n * layers / 4) ** 0.5 for s in found])
    assert z.std() > 1.5
    assert spread(found[0]) == pytest.approx(z.std(), rel=0.2)
    assert offset(found[0]) == pytest.approx(z.mean(), abs=5 * z.std() / 400**0.5)
    assert 0.001 in violations(binomial)
    assert violations(tails(found)) == []


def test_synthid_tokens_65536_apart_share_their_bits():
    mark = MARKS["synthid"]
    rows = np.random.default_rng(0).integers(0, 1 << 16, (500, 5), dtype=np.uint32)
    moved = rows + np.uint32(65_536)
    assert (mark.g_values(rows[:, :-1], rows[:, -1]) == mark.g_values(moved[:, :-1], moved[:, -1])).all()
    both = np.concatenate([rows, moved])
    law = mark.score(mark.inputs(both[:, :-1], both[:, -1])).law
    alone = mark.score(mark.inputs(rows[:, :-1], rows[:, -1])).law
    assert isinstance(law, Shifts)
    # Twice the pairs, and no more is known: the same p-value of twice the sum.
    assert (law.sums == 2 * alone.sums).all()
    top = int(alone.sums.max())
    assert log10_p(law, 1000, 2 * 30 * top) == pytest.approx(log10_p(alone, 500, 30 * top), rel=1e-9)


def test_sglang_keys_and_contexts_collide():
    draw = np.random.default_rng(1)
    halves = draw.integers(0, 1 << 32, (300_000, 2), dtype=np.uint64).astype(np.uint32)
    states = murmur.murmur3([halves[:, 0], halves[:, 1]], halves[:, 0])
    _, first, counts = np.unique(states, return_index=True, return_counts=True)
    assert (counts > 1).any()  # of 300,000 keys some ten share their state
    a = int(first[counts > 1][0])
    b = int(np.flatnonzero(states == states[a])[1])
    marks = [Sglang(Secret(halves[i].astype("<u4").tobytes())) for i in (a, b)]
    rows = rows_of(4, 2000)
    assert marks[0].key != marks[1].key
    totals = [m.score(m.inputs(rows[:, :-1], np.ascontiguousarray(rows[:, -1]))).total for m in marks]
    assert totals[0] == totals[1]
    windows = draw.integers(0, 1 << 20, (300_000, 4), dtype=np.uint32)
    hashes = murmur.context_hashes(windows)
    _, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    same = np.flatnonzero(hashes == hashes[first[counts > 1][0]])
    s = marks[0].score(marks[0].inputs(windows[same], np.full(len(same), 7, dtype=np.uint32)))
    assert (s.n, s.n_same_input) == (1, len(same) - 1)


def test_sglang_at_the_size_where_states_begin_to_meet():
    """Over random keys the sum of 120,000 inputs still has the spread of independent scores."""
    rows = np.random.default_rng(5).integers(0, 50_000, (120_000, 5), dtype=np.uint32)
    found = scores(MARKS["sglang"], rows, 200)
    z = np.array([(s.total - s.n * s.law.mean) / s.n**0.5 for s in found])
    assert 0.75 < z.std() < 1.3  # six standard errors of 200 keys
    assert abs(z.mean()) < 5 / 200**0.5
    assert sum(s.n_same_input for s in found) > 200  # some 1.7 a key
    assert violations(np.array([float(gamma_log10_sf(s.n, s.total)) for s in found])) == []
