from math import log10

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify.signed import _chernoff, signed_sum_log10_sf
from verify.tails import binomial_log10_sf


@given(st.lists(st.integers(1, 40), min_size=1, max_size=9), st.data())
@settings(max_examples=60, deadline=None)
def test_equals_counting_all_signs(weights, data):
    x = data.draw(st.integers(0, sum(weights)))
    sums = np.array([0])
    for w in weights:
        sums = np.concatenate([sums, sums + w])
    expected = log10((sums >= x).mean())
    assert signed_sum_log10_sf(np.array(weights), x) == pytest.approx(expected, abs=1e-12)


def test_equal_weights_are_the_binomial():
    for n, k in ((50, 46), (1000, 600), (1000, 1000)):
        found = signed_sum_log10_sf(np.ones(n, dtype=np.int64), k)
        assert found == pytest.approx(float(binomial_log10_sf(n, 0.5, k)), rel=1e-10)


def test_the_far_end_neither_underflows_nor_is_floored():
    ranks = np.arange(1, 1001)
    assert signed_sum_log10_sf(ranks, int(ranks.sum())) == pytest.approx(-1000 * log10(2), rel=1e-12)


def test_signed_ranks_against_mpmath():
    """Exact coefficients of prod (1 + x^i), for 40 ranks."""
    n, x = 40, 610
    law = [mpmath.mpf(1)] + [mpmath.mpf(0)] * (n * (n + 1) // 2)
    for w in range(1, n + 1):
        for s in range(len(law) - 1, w - 1, -1):
            law[s] += law[s - w]
    expected = mpmath.log10(sum(law[x:]) / mpmath.mpf(2) ** n)
    assert signed_sum_log10_sf(np.arange(1, n + 1), x) == pytest.approx(float(expected), rel=1e-12)


def test_beyond_the_exact_range_the_bound_is_above_the_tail_and_close():
    ranks = np.arange(1, 1001)
    for x in (260_000, 300_000, 400_000):
        exact = signed_sum_log10_sf(ranks, x)
        bound = _chernoff(ranks.astype(float), x - ranks.sum() / 2)
        assert exact <= bound < exact + 2.5
    assert signed_sum_log10_sf(np.arange(1, 3001), 3000 * 3001 // 4) == 0.0
    assert -60 < signed_sum_log10_sf(np.arange(1, 3001), 3_000_000) < -50


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="not at least 1"):
        signed_sum_log10_sf(np.array([1, 0]), 1)
    with pytest.raises(ValueError, match="cannot be reached"):
        signed_sum_log10_sf(np.array([1, 2]), 4)
    assert signed_sum_log10_sf(np.array([], dtype=np.int64), 0) == 0.0
