"""What is claimed under an engine's own mark: caps, collisions, refusals and warnings."""

from fractions import Fraction
from math import log10

import numpy as np
import pytest

from verify.errors import Refused
from verify.hypotheses.decoys import DecoyRank
from verify.native import validity
from verify.native.decoys import rank
from verify.native.finding import conclude
from verify.native.pairs import Corpus
from verify.native.tails import log10_p
from watermark.native.greenlist import GreenList
from watermark.native.laws import Exponentials, Scored
from watermark.native.sglang import Gumbel as Sglang
from watermark.native.synthid import SynthId
from watermark.native.vllm import Gumbel as Vllm
from watermark.secret import Secret

KEY = Secret(bytes(range(1, 9)))
SHORT = Secret(bytes([9, 1, 0, 0, 0, 0, 0, 0]))
FOUR = Secret(bytes([9, 1, 7, 3, 0, 0, 0, 0]))


def corpus(n=2000, width=4, seed=0):
    rows = np.random.default_rng(seed).integers(0, 5000, (n, width + 1), dtype=np.uint32)
    return Corpus(1, 0, n + width, {"first_h": width, "duplicate": 0}, rows)


def scored(mark, c):
    return mark.score(mark.inputs(c.windows, c.tokens))


def tail(s):
    return log10_p(s.law, s.n, s.total)


def strong(n, factor=4.0):
    return Scored(n, 0, 0, factor * n, Exponentials((1.0,), 1.0))


@pytest.mark.parametrize(("mark", "bits"), [
    (Vllm(KEY, 4), 64), (Vllm(SHORT, 4), 16), (Sglang(KEY), 32), (Sglang(SHORT), 16),
    (Sglang(KEY, KEY), 30), (Sglang(KEY, SHORT), 14), (Sglang(SHORT, KEY), 14),
    (GreenList(KEY, 100), 32), (GreenList(FOUR, 100), 24), (GreenList(SHORT, 100), 16),
    (SynthId(Secret(bytes(240)), 5), 480),
])  # fmt: skip
def test_no_p_below_what_the_key_can_carry(mark, bits):
    assert validity.log10_cap(mark) == pytest.approx(-bits * log10(2))
    stated = validity.log10_stated(mark, 10_000, tail(strong(10_000)))
    assert stated >= validity.log10_cap(mark)
    assert stated == pytest.approx(validity.log10_cap(mark), abs=1e-9)


def test_a_cap_adds_and_does_not_replace():
    mark = Sglang(KEY)
    weak = Scored(1000, 0, 0, 1200.0, Exponentials((1.0,), 1.0))
    ideal = tail(weak)
    assert -10 < ideal < -6
    expected = log10(10 ** (ideal + validity.log10_collisions(mark, 1000)) + 2**-32)
    assert validity.log10_stated(mark, weak.n, ideal) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [2, 10, 40, 100])
def test_collisions_are_bounded(n):
    """1 / P(n draws of 2^8 states are distinct) is at most e^c, and close to it while few meet."""

    class Narrow(Sglang):
        state_bits = 8

    distinct = Fraction(1)
    for i in range(n):
        distinct *= 1 - Fraction(i, 256)
    bound = validity.log10_collisions(Narrow(KEY), n)
    exact = -(log10(distinct.numerator) - log10(distinct.denominator))
    assert exact <= bound <= 2 * exact


def test_the_size_from_which_the_ideal_p_is_no_bound():
    assert validity.valid_up_to(Sglang(KEY)) == 92_681
    assert validity.log10_collisions(Sglang(KEY), 92_682) == pytest.approx(log10(np.e), rel=1e-4)
    assert validity.valid_up_to(SynthId(Secret(bytes(240)), 5)) is None
    assert validity.valid_up_to(Vllm(KEY, 4)) > 10**19


def test_a_large_sample_is_weakened_in_words_and_number():
    mark, n = Sglang(KEY), 1_000_000
    s = Scored(n, 3, 0, 1.005 * n, Exponentials((1.0,), 1.0))
    ideal, stated = tail(s), validity.log10_stated(mark, n, tail(s))
    assert ideal < -5 < 0.0 == stated
    text = " ".join(validity.warnings(mark, s))
    assert "92,681" in text
    assert "10^50" in text
    assert "count once" in text
    assert not conclude(corpus(), mark, s, alpha=1e-4).found  # the stated one decides


def test_a_threshold_nobody_can_reach_is_refused():
    c = corpus()
    with pytest.raises(Refused, match=r"2\^-32"):
        conclude(c, Sglang(KEY), scored(Sglang(KEY), c), alpha=1e-10)
    assert conclude(c, Vllm(KEY, 4), scored(Vllm(KEY, 4), c), alpha=1e-10).found is False


def test_too_little_text_is_refused():
    c = corpus(20)
    with pytest.raises(Refused, match="only 20 of 24"):
        conclude(c, Vllm(KEY, 4), scored(Vllm(KEY, 4), c), alpha=1e-6)


@pytest.mark.parametrize(("mark", "said"), [
    (Vllm(KEY, 4), "Philox"), (Sglang(KEY), "MurmurHash3"), (SynthId(Secret(bytes(range(240))), 5), "65,536"),
    (GreenList(KEY, 5000), "MT19937"),
])  # fmt: skip
def test_every_finding_says_what_it_rests_on(mark, said):
    c = corpus(width=mark.width)
    f = conclude(c, mark, scored(mark, c), alpha=1e-6)
    record = f.to_dict()
    text = " ".join([*record["assumptions"], *record["warnings"], record["prf"]])
    assert said in text
    assert record["assumptions"] == list(f.assumptions)
    assert f.warnings
    assert f.n_seen == f.n_scored + sum(f.n_dropped.values())
    assert f.log10_p_stated >= f.log10_p
    assert KEY.reveal().hex() not in str(record)


def test_decoys_rank_and_contradict():
    c, mark = corpus(300), Vllm(KEY, 4)
    r = rank(c, mark, n=200)
    assert r.n == 200
    assert sum(r.histogram) == 200
    assert rank(c, mark, n=200) == r
    shuffled = Corpus(1, 0, c.n_seen, c.n_dropped, c.rows[::-1])
    assert rank(shuffled, mark, n=200) == r  # a property of the set of pairs
    other = rank(c, Vllm(SHORT, 4), n=200)
    assert other.seed == r.seed  # of the text alone
    assert other.histogram != r.histogram
    low = conclude(c, mark, strong(300), alpha=1e-6, decoys=r)
    assert r.rank > 1
    assert "the rank is what counts" in low.warnings[-1]
    assert low.log10_p_stated < -6
    assert not low.found
    assert "not found" in low.sentence
    assert conclude(c, mark, strong(300), alpha=1e-6, decoys=DecoyRank(200, 1, "", ())).found


def test_a_decoy_above_is_no_contradiction_among_as_many_as_alpha_allows():
    c, mark = corpus(300), Vllm(KEY, 4)
    weak = Scored(300, 0, 0, 330.0, Exponentials((1.0,), 1.0))
    assert log10_p(weak.law, 300, 330.0) == pytest.approx(-1.4, abs=0.1)
    for rank_of_200, found in ((1, True), (9, True), (60, False)):
        assert conclude(c, mark, weak, alpha=0.1, decoys=DecoyRank(200, rank_of_200, "", ())).found is found


def test_short_green_list_keys_share_the_lists_of_ids_with_factors_of_two():
    """Why a key that no product wraps has fewer bits than its seeds: those of key and key + 2^31 meet at even ids."""
    ids = np.arange(1, 4096, dtype=np.uint32)[:, None]
    key = 0x0307_0109
    for bits in (1, 4, 8):
        a, b = (
            GreenList(Secret(k.to_bytes(8, "little")), 4096).seeds(ids, ids[:, 0])
            for k in (key, key + (1 << 32 - bits))
        )
        assert ((a == b) == (ids[:, 0] % (1 << bits) == 0)).all()


def test_a_window_whose_seed_is_0_is_public():
    mark = GreenList(Secret((2**40).to_bytes(8, "little")), 4096)  # times any id, it leaves the low 32 bits empty
    rows = np.random.default_rng(0).integers(1, 4096, (500, 2), dtype=np.uint32)
    assert (mark.score((rows[:, :1], rows[:, 1])).n, mark.score((rows[:, :1], rows[:, 1])).n_keyless) == (0, 500)


def test_tokens_beyond_a_green_lists_vocabulary_are_not_scored():
    rows = np.array([[1, 4095], [1, 4096], [2, 5000], [2**20 - 1, 7]], dtype=np.uint32)
    s = GreenList(KEY, 4096).score((rows[:, :1], rows[:, 1]))
    assert (s.n, s.n_keyless) == (2, 2)


def test_decoy_ranks_are_uniform_under_the_null():
    c, draw = corpus(60), np.random.default_rng(2)
    ranks = [rank(c, Vllm(Secret(draw.bytes(8)), 4), n=9).rank for _ in range(400)]
    counts = np.bincount(ranks, minlength=11)[1:]
    assert counts.sum() == 400
    assert ((counts - 40) ** 2 / 40).sum() < 40  # chi-square of 9 degrees: 8e-6
