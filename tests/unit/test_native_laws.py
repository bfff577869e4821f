"""Null laws of engines' own marks, against other ways to compute them."""

import json
from itertools import product
from math import comb, log10
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.special import gammaincc, log_ndtr

from verify.errors import Refused
from verify.hypotheses.closed import log10_p as scheme_log10_p
from verify.native.tails import hypoexponential_log10_sf, log10_p, shifts_log10_sf
from verify.tails import binomial_log10_sf
from watermark.native import mersenne
from watermark.native.laws import Exponentials, GreenLists, Shifts
from watermark.native.synthid import correlated
from watermark.schemes import parse

VLLM = json.loads((Path(__file__).parents[1] / "vectors" / "native" / "vllm.json").read_text())


def by_quadrature(n, a, b, x):
    """log10 P(a X + b Y >= x): the density of X against the tail of Y, in 40 digits."""
    with mpmath.workdps(40):
        a, b, x = map(mpmath.mpf, (a, b, x))

        def density(t):
            return mpmath.exp((n - 1) * mpmath.log(t) - t) / mpmath.gamma(n) if t else mpmath.mpf(n == 1)

        def inside(t):
            return density(t) * mpmath.gammainc(n, (x - a * t) / b, regularized=True)

        whole = mpmath.quad(inside, mpmath.linspace(0, x / a, 60)) + mpmath.gammainc(n, x / a, regularized=True)
        return float(mpmath.log10(whole))


@pytest.mark.parametrize(("n", "alpha", "ratio"), [*product((1, 2, 7, 40), (0.1, 0.25, 0.02, 0.4), (0.5, 1, 1.3, 4))])
def test_two_keys_against_quadrature(n, alpha, ratio):
    found = hypoexponential_log10_sf(n, 1 - alpha, alpha, ratio * n)
    assert found == pytest.approx(by_quadrature(n, 1 - alpha, alpha, ratio * n), rel=1e-9)


def test_two_keys_by_simulation():
    draw, n, alpha = np.random.default_rng(1), 50, 0.1
    sums = (1 - alpha) * draw.gamma(n, size=10**6) + alpha * draw.gamma(n, size=10**6)
    for x in (50, 55, 65):
        p = 10 ** hypoexponential_log10_sf(n, 1 - alpha, alpha, x)
        assert abs((sums >= x).mean() - p) < 5 * (p / 10**6) ** 0.5


def test_moments_are_those_of_one_score():
    draw, size = np.random.default_rng(4), 10**6
    for law, scores in (
        (Exponentials((0.7, 0.3), 1.0), 0.7 * draw.exponential(size=size) + 0.3 * draw.exponential(size=size)),
        (GreenLists(0.25), draw.random(size) < 0.25),
    ):
        assert law.mean == pytest.approx(scores.mean(), rel=5e-3)
        assert law.variance == pytest.approx(scores.var(), rel=2e-2)


def test_equal_or_single_keys_are_gamma():
    law = parse("gumbel").law
    for n, x in ((10, 12.0), (1000, 1500.0)):
        assert hypoexponential_log10_sf(n, 1.0, 0.0, x) == scheme_log10_p(law, n, x * law.unit)
        assert hypoexponential_log10_sf(n, 0.5, 0.5, x) == scheme_log10_p(law, 2 * n, 2 * x * law.unit)
        near = hypoexponential_log10_sf(n, 0.5000001, 0.4999999, x)
        assert near == pytest.approx(hypoexponential_log10_sf(n, 0.5, 0.5, x), rel=1e-4)
    weights = Exponentials((1.0, 0.0), 1.0)
    assert log10_p(weights, 10, 12.0) == log10_p(Exponentials((1.0,), 1.0), 10, 12.0)
    assert hypoexponential_log10_sf(5, 1.0, 0.5, 0.0) == 0.0


@pytest.mark.parametrize("alpha", [5e-324, 1e-300, 1e-12, 1e-6, 1e-4])
def test_a_tiny_second_weight_is_bounded_by_a_larger_one(alpha):
    """As b goes to 0 the tail goes to that of X alone, and is never below it."""
    alone, found = (hypoexponential_log10_sf(100, 1 - alpha, b, 160.0) for b in (0.0, alpha))
    assert alone <= found < alone + 0.1


def test_large_samples_are_fast_and_agree_with_the_normal_near_the_mean():
    n, alpha = 10**6, 0.1
    sd = (n * (0.9**2 + 0.1**2)) ** 0.5
    for z in (-3, 0, 3):
        found = hypoexponential_log10_sf(n, 0.9, alpha, n + z * sd)
        assert found == pytest.approx(float(log_ndtr(-z)) / np.log(10), abs=5e-3)  # skewness is 2e-3
    assert hypoexponential_log10_sf(n, 0.9, alpha, 2 * n) < -150_000


def test_moment_matched_gamma_is_too_small():
    """What vLLM's detector says for two keys, against the exact tail."""
    worst = 1.0
    for alpha, n, score, theirs in VLLM["dual_p_values"]:
        variance = (1 - alpha) ** 2 + alpha**2
        if alpha != 0.5:  # where vLLM uses an integer shape, and is exact
            assert gammaincc(n / variance, score / variance) == pytest.approx(theirs, rel=1e-6)
        ratio = 10 ** hypoexponential_log10_sf(n, 1 - alpha, alpha, score) / theirs
        if alpha == 0.5:
            assert ratio == pytest.approx(1, rel=1e-9)
        if theirs > 1e-20:
            worst = max(worst, ratio)
    assert 4 < worst < 5  # at 100 pairs and p = 7e-17; further out it grows without end
    deep = max(10 ** hypoexponential_log10_sf(n, 1 - a, a, s) / p for a, n, s, p in VLLM["dual_p_values"])
    assert deep > 1e6


def test_shifts_against_enumeration():
    draw = np.random.default_rng(3)
    for layers in (1, 2, 4):
        sums = draw.integers(0, 9, 16) * 3
        everything = np.array([sum(c) for c in product(sums.tolist(), repeat=layers)])
        law = Shifts(sums.astype(np.int64), layers, 20)
        for total in range(-1, int(everything.max()) + 1):
            expected = (everything >= total).mean()
            assert 10 ** shifts_log10_sf(law, total) == pytest.approx(expected, rel=1e-9)
        with pytest.raises(ValueError, match="cannot be reached"):
            shifts_log10_sf(law, int(everything.max()) + 1)


def test_shifts_far_out_against_the_binomial():
    """Sums that are 0 or 1 alike make m layers a Bin(m, 1/2): down to 2^-m, in relative terms."""
    law = Shifts(np.array([0, 1] * 8), 200, 1)
    for total in (90, 150, 199, 200):
        exact = log10(sum(comb(200, k) for k in range(total, 201))) - 200 * log10(2)
        assert shifts_log10_sf(law, total) == pytest.approx(exact, rel=1e-9)
    assert shifts_log10_sf(Shifts(np.zeros(8, dtype=np.int64), 3, 1), 0) == 0.0


def test_shifts_that_spread_too_far_are_refused():
    with pytest.raises(Refused, match="spread over"):
        shifts_log10_sf(Shifts(np.array([0, 10**8 + 1, 10**8]), 30, 10**8), 10**9)


def test_correlation_is_exact():
    draw = np.random.default_rng(0)
    table = mersenne.bits(0, 64)
    for top in (2, 70_000, 2**40):
        weights = draw.integers(0, top, 64)
        slow = [int(sum(int(weights[x]) * int(table[(x + k) % 64]) for x in range(64))) for k in range(64)]
        assert correlated(weights, table).tolist() == slow


def test_green_lists_are_bounded_by_the_binomial():
    """A number of greens of one list is hypergeometric: at least one above the mean, its tail is the smaller."""
    vocabulary, size, n = 40, 10, 20
    law = GreenLists(size / vocabulary)
    for total in range(n // 2 + 1):
        exact = sum(
            comb(size, k) * comb(vocabulary - size, n - k) for k in range(total, min(n, size) + 1)
        ) / comb(vocabulary, n)  # fmt: skip
        assert log10_p(law, n, total) >= (log10(exact) if exact else -np.inf)
    assert log10_p(law, n, 6) == float(binomial_log10_sf(n, 0.25, 6))
    assert log10_p(law, n, 5) == 0.0  # the mean itself: the binomial's tail is no bound there
