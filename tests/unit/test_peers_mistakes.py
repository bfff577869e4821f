"""What others shipped and we must not: one test for each mistake this code could make.

The facts are in the field's issue trackers and papers; the numbers are those of the list in docs/adr/0003.
"""

import inspect
from math import inf

import numpy as np
import pytest

from tests.conftest import make_epoch
from verify import finding
from verify.hypotheses import closed
from verify.scoring import merge, score, summarize
from watermark.errors import Error
from watermark.keys import MasterKey
from watermark.prf import Prf, pack_blocks
from watermark.sampling import Request, Sampler
from watermark.schemes import available, parse
from watermark.secret import Secret
from watermark.windows import TokenBatch


def r0(key, window, token):
    return int(
        Prf(Secret(key)).words(pack_blocks(np.array([window], dtype=np.uint32), np.array([token], np.uint32)))[0, 0]
    )


def batch(*docs):
    return TokenBatch.from_documents([np.asarray(d, dtype=np.uint32) for d in docs])


def test_every_bit_of_a_key_matters():
    """A 64-bit key that passes through a 32-bit state makes two keys one."""
    key = bytes(range(16))
    flipped = [
        bytes(b ^ (1 << bit if i == byte else 0) for i, b in enumerate(key)) for byte in range(16) for bit in range(8)
    ]
    values = {r0(k, [5, 6], 7) for k in [key, *flipped]}
    assert len(values) == 129


def test_25000_account_keys_do_not_collide():
    epoch = make_epoch(shares="account=1")
    values = {epoch.value_key("account", str(slot)).value.reveal() for slot in range(25_000)}
    assert len(values) == 25_000


def test_tokens_65536_apart_are_independent():
    """A table indexed by low bits makes t and t + 65,536 share their values."""
    n = 20_000
    windows = np.random.default_rng(0).integers(0, 1 << 20, (n, 2), dtype=np.uint32)
    tokens = np.arange(n, dtype=np.uint32)
    prf = Prf(make_epoch().value_key("fleet").value)
    low, high = (prf.words(pack_blocks(windows, tokens + np.uint32(shift))) for shift in (0, 65_536))
    for name in available():
        a, b = (parse(name).score(w).astype(float) for w in (low, high))
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / n**0.5


def test_context_is_ordered_and_never_mixed_with_the_token():
    """Sums of ids, XOR with the token, and seed + i all make different inputs equal."""
    key = bytes(16)
    same_sum_or_xor = [
        ([1, 2], 3),
        ([2, 1], 3),
        ([3, 0], 3),
        ([1, 3], 2),
        ([0, 3], 3),
        ([1, 2], 0),
        ([0, 0], 0),
        ([3, 3], 0),
    ]
    assert len({r0(key, w, t) for w, t in same_sum_or_xor}) == len(same_sum_or_xor)
    widths = {r0(key, [1], 2), r0(key, [1, 2], 2), r0(key, [1, 1, 2], 2), r0(key, [2], 1)}
    assert len(widths) == 4
    epochs = {
        MasterKey(Secret(bytes(31) + bytes([i]))).epoch(str(j), deployment=make_epoch().deployment).id
        for i in range(8)
        for j in range(8)
    }
    assert len(epochs) == 64


@pytest.mark.parametrize("name", available())
def test_tails_are_never_zero_floored_or_wrong_side(name):
    """A normal tail is 18 times too small at z = 6 and 0.0 from z = 8; others floor at 1e-200."""
    law, n = parse(name).law, 10_000
    top = {"gumbel": 40 * n * 65_536, "greenlist": n}.get(name, n * law.unit)
    totals = np.linspace(0.9 * n * law.mean * law.unit, top, 50).astype(np.int64)
    log10_p = closed.log10_p(law, n, totals)
    assert np.isfinite(log10_p).all()
    assert (np.diff(log10_p) < 0).all()
    assert log10_p[-1] < -3000
    assert log10_p[0] > -1e-6


def test_a_p_too_small_for_a_double_is_significant():
    """`p or 1.0` turned p = 0.0 into "not significant"."""
    n = 50_000
    key = make_epoch(shares="fleet=1").value_key("fleet")
    summary = summarize(batch(np.random.default_rng(0).integers(0, 9999, n)), 2)
    s = score(summary.pairs, key)
    strong = type(s)(s.n, 3 * s.n * 65_536, 10 * s.n * 65_536**2, 0)
    f = finding.find(summary, key, strong, alpha=1e-300, decoys=None, tokenizer=None, options={})
    assert 10**f.log10_p == 0.0
    assert f.found
    assert -inf < f.log10_p < -10_000


def test_repeated_text_is_counted_once_over_the_whole_corpus():
    """Without distinct over the corpus a clean phrase repeated looks marked, or unmarked, with any confidence."""
    phrase = np.random.default_rng(0).integers(0, 40_000, 60)
    once, often = (merge([summarize(batch(phrase), 2)] * k, 2) for k in (1, 1000))
    within = summarize(batch(np.tile(phrase, 1000)), 2)
    assert len(once.pairs) == len(often.pairs) == 58
    assert len(within.pairs) <= 60  # two more at the seam
    key = make_epoch().value_key("fleet")
    assert score(once.pairs, key) == score(often.pairs, key)


def test_distinct_is_per_pair_not_per_window_or_token():
    s = summarize(batch([1, 2, 3], [1, 2, 4], [1, 2, 3], [9, 2, 3]), 2)
    assert sorted(np.column_stack([s.pairs.windows(), s.pairs.tokens()]).tolist()) == [[1, 2, 3], [1, 2, 4], [9, 2, 3]]
    assert s.n_duplicate == 1


def test_placeholder_tokens_are_refused_never_marked_on():
    """Engines hand out -1 under asynchronous scheduling."""
    sampler = Sampler(make_epoch(width=1))
    response = sampler.start(Request("a"))
    with pytest.raises(Error, match="-1"):
        response.take(-1, "fleet")
    assert response.tracker.tokens == []


def test_no_request_can_choose_a_key_or_switch_the_mark_off():
    """A request carries names of slots, nothing else."""
    assert set(inspect.signature(Request).parameters) == {"id", "account", "cohort"}


def test_one_p_value_per_corpus_and_key():
    """There is no best of several prefixes: the p-value is a function of the final sum alone."""
    assert list(inspect.signature(closed.log10_p).parameters) == ["law", "n", "totals"]
    a = summarize(batch(range(1000)), 2)
    assert merge([a], 2).to_bytes() == a.to_bytes()
