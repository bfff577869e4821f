"""Tails against mpmath and exact integers: every reference is computed here, by another route."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

from verify import _lattice
from verify.tails import binomial_log10_sf, gamma_log10_sf, weighted_binomial_log10_sf

mp.dps = 40
ACCURACY = 1e-9
FAR = 240_000  # nats: log10 p near -100,000


def relative_error(got, reference):
    """Of the logarithm; below 1e-300 a double has no room for it and 0.0 is right."""
    got = float(got)
    if abs(reference) < mp.mpf(10) ** -300:
        return abs(got)
    return float(abs(got / reference - 1))


def log10_of_smaller_tail(log_tail, *, upper):
    """log10 of the upper tail from the natural log of the tail that was computed."""
    return (log_tail if upper else mp.log1p(-mp.exp(log_tail))) / mp.log(10)


def gamma_reference(shape, x):
    """mpmath.gammainc where it converges, and its Gauss-Legendre quadrature of the density elsewhere."""
    a, x = mp.mpf(shape), mp.mpf(x)
    upper = bool(x >= a)
    if a <= 300 and x < 3000:
        ends = (x, mp.inf) if upper or a < 1 else (0, x)
        tail = mp.log(mp.gammainc(a, *ends, regularized=True))
        return log10_of_smaller_tail(tail, upper=ends[1] == mp.inf)
    rate, bend = abs(1 - (a - 1) / x), a / x**2
    step = 1 / (rate / 2 + mp.sqrt(rate**2 / 4 + bend))
    ends = [x + (step if upper else -step) * k for k in (0, 1, 2, 4, 8, 16, 32, 64, 120)]
    ends = [max(end, mp.mpf(0)) for end in ends]
    density = (a - 1) * mp.log(x) - x - mp.loggamma(a)

    def relative_density(t):
        return mp.exp((a - 1) * mp.log(t / x) + x - t) if t > 0 else mp.mpf(0)

    ratio = mp.quad(relative_density, sorted(set(ends)))
    return log10_of_smaller_tail(density + mp.log(ratio), upper=upper)


def binomial_reference(n, p, k):
    """The sum of the mass function in fixed point, 220 bits behind the point, from k away from the mean."""
    exact = Fraction(p)
    upper = k > n * exact
    chance = exact if upper else 1 - exact
    first = k if upper else n - k + 1
    odds = chance / (1 - chance)
    term = total = 1 << 220
    for j in range(first, n):
        term = term * (n - j) * odds.numerator // ((j + 1) * odds.denominator)
        total += term
        if term < 1 << 70:
            break
    log_chance, log_rest = (mp.log(f.numerator) - mp.log(f.denominator) for f in (chance, 1 - chance))
    mass = mp.loggamma(n + 1) - mp.loggamma(first + 1) - mp.loggamma(n - first + 1)
    mass += first * log_chance + (n - first) * log_rest
    return log10_of_smaller_tail(mass + mp.log(total) - 220 * mp.log(2), upper=upper)


@cache
def exact_tail_counts(n, weights):
    """2^(n m) P(S >= x) for every x: product of (1 + z^w)^n with z = 2^bits, so digits are coefficients."""
    bits = 8 * (n * len(weights) // 8 + 1)
    packed = math.prod((1 + (1 << bits * w)) ** n for w in weights)
    size = n * sum(weights) + 1
    raw = packed.to_bytes(size * bits // 8, "little")
    counts = [int.from_bytes(raw[i : i + bits // 8], "little") for i in range(0, len(raw), bits // 8)]
    return list(itertools.accumulate(reversed(counts)))[::-1]


def exact_log10(tail, whole):
    if 2 * tail < whole:
        return mp.log10(mp.mpf(tail) / whole)
    return mp.log1p(-mp.mpf(whole - tail) / whole) / mp.log(10)


def pair_reference(n, x):
    """Weights (1, 2), x above the mean: sum_j P(B2 = j) P(B1 >= x - 2 j), by two recurrences."""
    low, high = 0.0, 50.0
    for _ in range(80):
        tilt = (low + high) / 2
        spill = n * (1 / (1 + math.exp(-tilt)) + 2 / (1 + math.exp(-2 * tilt)))
        low, high = (tilt, high) if spill < x else (low, tilt)
    centre, reach = n / (1 + math.exp(-2 * tilt)), int(9 * math.sqrt(n))
    start, stop = max((x - n + 1) // 2, int(centre) - reach), min(n, int(centre) + reach)

    def log_mass(j):
        return mp.loggamma(n + 1) - mp.loggamma(j + 1) - mp.loggamma(n - j + 1) - n * mp.log(2)

    k = x - 2 * start
    mass1 = mass2 = term = mp.mpf(1)  # of B1 at k and B2 at j, each relative to its first value
    tail1 = total = mp.mpf(0)
    for j in range(k, n + 1):
        tail1 += term
        term *= mp.mpf(n - j) / (j + 1)
        if term < mp.mpf(10) ** -45 * tail1:
            break
    for j in range(start, stop + 1):
        total += mass2 * tail1
        mass2 *= mp.mpf(n - j) / (j + 1)
        for _ in range(2):
            mass1 *= mp.mpf(k) / (n - k + 1)
            k -= 1
            tail1 += mass1
    return (log_mass(start) + log_mass(x - 2 * start) + mp.log(total)) / mp.log(10)


@mp.workdps(25)
def inversion_reference(n, weights, x):
    """The inversion integral on another line than the module's, by mpmath's quadrature."""
    top = n * sum(weights)
    upper = 2 * x > top
    gap = mp.mpf(2 * (x if upper else top - x + 1) - top) / 2
    low, high = mp.mpf(0), mp.mpf(40)
    for _ in range(60):
        theta = (low + high) / 2
        below = n * sum(mp.mpf(w) / 2 * mp.tanh(w * theta / 2) for w in weights) < gap
        low, high = (theta, high) if below else (low, theta)
    sd = mp.sqrt(n * sum((mp.mpf(w) / 2 / mp.cosh(w * theta / 2)) ** 2 for w in weights))
    theta += mp.mpf("1.7") / sd

    def exponent(z):
        return n * sum(mp.log(mp.cosh(w * z / 2)) for w in weights) - z * gap

    peak = exponent(theta)
    end = min(mp.pi, 15 / sd)
    area = mp.quad(
        lambda t: (mp.exp(exponent(mp.mpc(theta, t)) - peak) / (1 - mp.exp(-mp.mpc(theta, t)))).real,
        [end * i / 8 for i in range(9)],
    )
    return log10_of_smaller_tail(peak + mp.log(area / mp.pi), upper=upper)


# Gamma


@pytest.mark.parametrize("shape", [1e-12, 1e-6, 0.003, 0.01, 0.3, 0.999, 1, 1.5, 2, 7, 15.5, 16, 40, 300])
def test_gamma_matches_gammainc_at_small_shapes(shape):
    x = np.array([1e-3, 0.05, 0.3, 0.6, 0.9, 0.999, 1, 1.001, 1.3, 2, 4, 8]) * max(shape, 1)
    got = gamma_log10_sf(shape, x)
    assert max(map(relative_error, got, (gamma_reference(shape, v) for v in x))) < ACCURACY


@pytest.mark.parametrize("shape", [1e4, 1e6, 1e9, 1e11, 2.0**40])
@pytest.mark.parametrize("z", [-30, -7, -1, -0.01, 0, 0.01, 1, 7, 50, 700])
def test_gamma_matches_quadrature_at_large_shapes(shape, z):
    x = shape + z * math.sqrt(shape)
    assert relative_error(gamma_log10_sf(shape, x), gamma_reference(shape, x)) < ACCURACY


@pytest.mark.parametrize("shape", [1, 10, 1e3, 1e5])
def test_gamma_is_exact_at_minus_one_hundred_thousand(shape):
    got = gamma_log10_sf(shape, shape + FAR)
    assert np.isfinite(got)
    assert got < -50_000
    assert relative_error(got, gamma_reference(shape, shape + FAR)) < 1e-14


@pytest.mark.parametrize("x", [1e-9, 0.5, 1, 40, 700, 1e5, 1e300])
def test_gamma_with_shape_one_is_the_exponential(x):
    assert gamma_log10_sf(1, x) == pytest.approx(-x / math.log(10), rel=1e-13)


def test_gamma_keeps_the_shape_of_x_and_is_zero_where_nothing_is_asked():
    got = gamma_log10_sf(5, [[-1.0, 0.0], [-0.0, 3.0]])
    assert got.shape == (2, 2)
    assert got.dtype == np.float64
    assert list(got.ravel()[:3]) == [0.0] * 3
    assert not np.signbit(got.ravel()[:3]).any()
    assert not np.signbit(gamma_log10_sf(1e6, 1.0))  # the lower tail underflows: 0.0, and never -0.0
    assert gamma_log10_sf(5, []).shape == (0,)
    assert gamma_log10_sf(0, [-2.0, 0.0]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("shape", "x", "message"),
    [
        (-1, 1.0, "shape -1 is not between 0 and"),
        (math.nan, 1.0, "shape nan"),
        (2.0**41, 1.0, "shape"),
        (3, math.nan, "not finite"),
        (3, math.inf, "not finite"),
        (0, 1e-300, "empty sum"),
    ],
)
def test_gamma_refuses_what_has_no_log(shape, x, message):
    with pytest.raises(ValueError, match=message):
        gamma_log10_sf(shape, x)


@given(st.floats(1e-12, 2.0**40), st.lists(st.floats(-40, 1e5), min_size=2, max_size=20))
def test_gamma_falls_in_x_within_rounding(shape, zs):
    got = gamma_log10_sf(shape, shape + np.sort(zs) * math.sqrt(shape))
    assert np.all(np.isfinite(got))
    assert np.all(got <= 0)
    assert np.all(np.diff(got) <= 1e-10 * np.abs(got[1:]))


@given(st.floats(1e-300, 2.0**40), st.floats(5e-324, 1.7e308))
def test_gamma_is_finite_wherever_a_double_can_go(shape, x):
    got = gamma_log10_sf(shape, x)
    assert np.isfinite(got)
    assert got <= 0


@given(st.floats(0.5, 1e6), st.floats(-6, 6))
def test_gamma_rises_with_shape_by_one_density(shape, z):
    """Q(a + 1, x) = Q(a, x) + x^a e^-x / Gamma(a + 1)."""
    x = shape + z * math.sqrt(shape)
    if x <= 0:
        return
    density = math.exp(shape * math.log(x) - x - math.lgamma(shape + 1))
    step = 10 ** gamma_log10_sf(shape + 1, x) - 10 ** gamma_log10_sf(shape, x)
    assert step == pytest.approx(density, rel=1e-6, abs=1e-13)


# Binomial


@pytest.mark.parametrize("n", [1, 2, 3, 17, 60])
@pytest.mark.parametrize("p", [1e-12, 1e-3, 0.1, 0.25, 0.5, 0.6, 0.9, 0.999, 1 - 1e-10])
def test_binomial_matches_the_sum_for_every_k(n, p):
    got = binomial_log10_sf(n, p, np.arange(1, n + 1))
    assert max(map(relative_error, got, (binomial_reference(n, p, k) for k in range(1, n + 1)))) < ACCURACY


@pytest.mark.parametrize(("n", "p", "k"), [(100, 0.25, 40), (1000, 0.5, 700), (5000, 0.01, 120)])
def test_binomial_matches_betainc(n, p, k):
    reference = mp.log10(mpmath.betainc(k, n - k + 1, 0, mp.mpf(p), regularized=True))
    assert relative_error(binomial_log10_sf(n, p, k), reference) < 1e-13


@pytest.mark.parametrize(
    ("n", "p", "zs"),
    [
        (1000, 0.25, [-15, -7, -1, 0.001, 1, 7, 50]),
        (10**6, 1e-3, [-30, -7, -1, 0.001, 1, 7, 50, 500]),
        (10**6, 0.5, [-30, -7, -1, 0.001, 1, 7, 50, 500]),
        (10**9, 1e-7, [-9, -1, 0.001, 1, 7, 50, 700]),
        (10**9, 0.5, [-30, -7, 0.001, 7, 50, 700]),
        (10**9, 0.9, [-30, -1, 1, 50, 700]),
        (10**11, 2e-11, [-1, 0.001, 1, 7, 700]),
        (10**11, 0.5, [-30, 50, 700]),
        (2**40, 0.7, [-34, 50, 700]),  # here n p, rounded to a double, costs 3e-9
        (10**11, 1 - 2e-11, [-19.8, -2.8, 0.001, 1.4]),  # few failures among many trials
    ],
)
def test_binomial_matches_the_sum_at_large_n(n, p, zs):
    ks = [round(n * p + z * math.sqrt(n * p * (1 - p))) for z in zs]
    ks = [k for k in ks if 1 <= k <= n]
    got = binomial_log10_sf(n, p, ks)
    assert max(map(relative_error, got, (binomial_reference(n, p, k) for k in ks))) < ACCURACY


def test_binomial_is_exact_at_minus_one_hundred_thousand():
    n, k = 10**9, 510_725_000
    got = binomial_log10_sf(n, 0.5, k)
    assert -101_000 < got < -99_000
    assert relative_error(got, binomial_reference(n, 0.5, k)) < 1e-13
    assert binomial_log10_sf(10**6, 1e-10, 10**4) < -40_000
    assert binomial_log10_sf(332_193, 0.5, 332_193) == pytest.approx(-332_193 * math.log10(2), rel=1e-14)
    assert binomial_log10_sf(1, 5e-324, 1) == pytest.approx(-323.306, abs=1e-3)


def test_binomial_includes_k_itself_and_is_not_mid_p():
    assert binomial_log10_sf(1, 0.5, [0, 1]).tolist() == [0.0, pytest.approx(math.log10(0.5), rel=1e-14)]
    expected = [0.0, math.log10(7 / 16), math.log10(1 / 16)]
    assert binomial_log10_sf(2, 0.25, [-3, 1, 2]) == pytest.approx(expected, rel=1e-14)


def test_binomial_answers_repeats_and_keeps_the_shape():
    k = np.array([[3, 5, 3], [5, 0, -1]])
    got = binomial_log10_sf(9, 0.3, k)
    assert got.shape == k.shape
    assert got[0, 0] == got[0, 2] == binomial_log10_sf(9, 0.3, 3)
    assert got[0, 1] == got[1, 0]
    assert binomial_log10_sf(0, 0.3, [0, -1]).tolist() == [0.0, 0.0]
    assert binomial_log10_sf(4, 0.3, []).shape == (0,)


@pytest.mark.parametrize(
    ("n", "p", "k", "message"),
    [
        (-1, 0.5, 0, "n -1 is not between"),
        (2**41, 0.5, 0, "is not between"),
        (5, 0.0, 1, "p 0.0 is not strictly between 0 and 1"),
        (5, 1.0, 1, "p 1.0"),
        (5, math.nan, 1, "p nan"),
        (5, 0.5, 6, "k 6 cannot be reached: the largest possible value is 5"),
        (5, 0.5, 2.0, "integer type, not float64"),
        (5, 0.5, 2**70, "integer type, not object"),
        (0, 0.5, 1, "cannot be reached"),
    ],
)
def test_binomial_refuses_what_has_no_log(n, p, k, message):
    with pytest.raises(ValueError, match=message):
        binomial_log10_sf(n, p, k)


def test_a_count_that_is_not_an_integer_is_a_type_error():
    with pytest.raises(TypeError):
        binomial_log10_sf(5.5, 0.5, 1)


@given(st.integers(1, 2**40), st.floats(0, 1, exclude_min=True, exclude_max=True), st.data())
def test_binomial_tails_add_up_and_fall(n, p, data):
    k = data.draw(st.integers(1, n))
    got = binomial_log10_sf(n, p, [k, k - 1, min(k + 1, n)])
    assert np.all(np.isfinite(got))
    assert np.all(got <= 0)
    assert got[2] <= got[0] * (1 - 1e-9)
    assert got[0] <= got[1] * (1 - 1e-9)
    if p > 2**-20:  # so that 1 - p is p's complement to every digit that matters
        p = round(p * 2**20) / 2**20 if p < 1 - 2**-20 else 0.5
        below = binomial_log10_sf(n, 1 - p, n - k + 1)  # P(S <= k - 1), counting failures
        assert 10 ** binomial_log10_sf(n, p, k) + 10**below == pytest.approx(1, abs=1e-9)


# Weighted binomials


SMALL = [
    (1, (1,)),
    (1, (1, 1, 1)),
    (1, (1, 64, 64, 64)),
    (1, tuple(range(1, 20))),
    (1, (1,) + (64,) * 20),
    (2, (1, 2, 3)),
    (3, (30, 1, 7, 7)),
    (10, (1, 1, 1)),
    (10, (8, 4, 2, 1)),
    (40, (1, 64)),
    (200, (1, 1, 1)),
    (100, (3, 2, 1)),
]


@pytest.mark.parametrize(("n", "weights"), SMALL)
def test_weighted_matches_exact_convolution_for_every_x(n, weights):
    exact = exact_tail_counts(n, weights)
    assert exact[0] == 2 ** (n * len(weights))
    got = weighted_binomial_log10_sf(n, weights, np.arange(len(exact)))
    assert got[0] == 0.0
    assert max(map(relative_error, got[1:], (exact_log10(tail, exact[0]) for tail in exact[1:]))) < ACCURACY


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 4), (1, 3, 3, 5)])
def test_weighted_matches_exact_convolution_by_repeated_squaring(weights):
    exact = exact_tail_counts(300, weights)
    xs = np.unique(np.linspace(1, len(exact) - 1, 120).astype(int))
    got = weighted_binomial_log10_sf(300, weights, xs)
    assert max(map(relative_error, got, (exact_log10(exact[x], exact[0]) for x in xs))) < ACCURACY


@pytest.mark.parametrize("n", [1, 7, 1000, 10**6, 10**9])
def test_equal_weights_are_the_binomial(n):
    mean, sd = 1.5 * n, math.sqrt(3 * n) / 2
    xs = np.unique(np.clip(np.round(mean + sd * np.linspace(-20, 300, 60)), 1, 3 * n)).astype(int)
    np.testing.assert_allclose(
        weighted_binomial_log10_sf(n, (1, 1, 1), xs), binomial_log10_sf(3 * n, 0.5, xs), rtol=1e-11
    )


@pytest.mark.parametrize(("n", "z"), [(10**4, 0.1), (10**5, 40), (10**6, 0.5), (10**6, 6), (10**6, 300)])
def test_weighted_matches_the_sum_over_one_layer(n, z):
    x = round(1.5 * n + z * math.sqrt(5 * n) / 2)
    assert relative_error(weighted_binomial_log10_sf(n, (1, 2), x), pair_reference(n, x)) < ACCURACY


@pytest.mark.parametrize("n", [10**6, 10**9])
@pytest.mark.parametrize("weights", [(1, 2, 3), (1, 64), (1,) + (64,) * 7, (30, 12, 6, 3, 1)])
def test_weighted_matches_mpmath_inversion_at_large_n(n, weights):
    mean, sd = n * sum(weights) / 2, math.sqrt(n * sum(w * w for w in weights)) / 2
    xs = [x for z in (-30, -1, 0, 1, 50, 700) if (x := int(mean + z * sd)) <= n * sum(weights)]
    got = weighted_binomial_log10_sf(n, weights, xs)
    assert max(map(relative_error, got, (inversion_reference(n, weights, x) for x in xs))) < ACCURACY


def test_weighted_takes_every_weight_at_the_largest_n():
    n, weights = 2**34, tuple(range(1, 65))
    mean, sd = n * sum(weights) / 2, math.sqrt(n * sum(w * w for w in weights)) / 2
    xs = [int(mean + z * sd) for z in (-7, 50)]
    got = weighted_binomial_log10_sf(n, weights, xs)
    assert max(map(relative_error, got, (inversion_reference(n, weights, x) for x in xs))) < ACCURACY


def test_weighted_is_finite_at_minus_one_hundred_thousand():
    x = round(3e9 + 678.6 * math.sqrt(14e9) / 2)
    got = weighted_binomial_log10_sf(10**9, (1, 2, 3), x)
    assert -101_000 < got < -99_000
    assert relative_error(got, inversion_reference(10**9, (1, 2, 3), x)) < 1e-12


@pytest.mark.parametrize(("n", "weights"), [(1, (1,)), (5, (1, 2)), (10**5, (3, 1, 1)), (10**9, (1, 64))])
def test_weighted_top_value_needs_every_bit_set(n, weights):
    top = n * sum(weights)
    whole = n * len(weights)
    got = weighted_binomial_log10_sf(n, weights, [top, top - 1, 1])
    ones = n * weights.count(1)  # top - 1: all bits but one of weight 1
    assert got[0] == pytest.approx(-whole * math.log10(2), rel=1e-14)
    assert got[1] == pytest.approx(-whole * math.log10(2) + math.log10(1 + ones), rel=1e-12)
    assert relative_error(got[2], mp.log1p(-(mp.mpf(2) ** -whole)) / mp.log(10)) < 1e-12


def test_weighted_keeps_the_shape_and_answers_zero_below_the_support():
    got = weighted_binomial_log10_sf(4, (1, 2), np.array([[0, -5], [7, 7]], dtype=np.int8))
    assert got.shape == (2, 2)
    assert got[0].tolist() == [0.0, 0.0]
    assert got[1, 0] == got[1, 1]
    assert weighted_binomial_log10_sf(0, (1, 2), 0) == 0.0
    assert weighted_binomial_log10_sf(4, (1, 2), []).shape == (0,)


@pytest.mark.parametrize(
    ("n", "weights", "x", "message"),
    [
        (-1, (1,), 0, "n -1 is not between"),
        (2**35, (1,), 0, "is not between"),
        (5, (), 0, "are not 1 to 128 whole numbers"),
        (5, (1,) * 129, 0, "are not 1 to 128 whole numbers"),
        (5, (1, 0), 0, "are not 1 to 128 whole numbers"),
        (5, (1, 65), 0, "are not 1 to 128 whole numbers"),
        (5, (1, 1.5), 0, "are not 1 to 128 whole numbers"),
        (5, (2, 3), 0, r"weights \(2, 3\) hold no 1"),
        (5, (1, 2), 16, "x 16 cannot be reached: the largest possible value is 15"),
        (5, (1, 2), 3.0, "integer type, not float64"),
    ],
)
def test_weighted_refuses_what_has_no_log(n, weights, x, message):
    with pytest.raises(ValueError, match=message):
        weighted_binomial_log10_sf(n, weights, x)


def test_weighted_raises_when_too_much_is_folded_in(monkeypatch):
    monkeypatch.setattr(_lattice, "_ROOM", -20.0)  # a period that is too short by the estimate
    with pytest.raises(ArithmeticError, match="exceed their bound"):
        weighted_binomial_log10_sf(1000, (1, 2), 1600)


weight_lists = st.lists(st.integers(1, 64), max_size=8).map(lambda rest: (1, *rest))


@settings(max_examples=60)
@given(st.integers(1, 10**9), weight_lists, st.lists(st.floats(-25, 60), min_size=1, max_size=4))
def test_weighted_tails_add_up_and_fall(n, weights, zs):
    top, sd = n * sum(weights), math.sqrt(n * sum(w * w for w in weights)) / 2
    xs = sorted({min(max(1, int(top / 2 + z * sd)), top) for z in zs})
    got = weighted_binomial_log10_sf(n, weights, xs)
    below = weighted_binomial_log10_sf(n, weights, [top - x + 1 for x in xs])  # P(S <= x - 1), by symmetry
    assert np.all(np.isfinite(got))
    assert np.all(got <= 0)
    assert np.all(np.diff(got) <= 1e-9 * np.abs(got[1:]))
    np.testing.assert_allclose(10**got + 10**below, 1, atol=1e-10)


@settings(max_examples=30)
@given(st.integers(1, 12), weight_lists)
def test_weighted_matches_exact_convolution_for_random_weights(n, weights):
    exact = exact_tail_counts(n, weights)
    xs = np.unique(np.linspace(1, len(exact) - 1, 12).astype(int))
    got = weighted_binomial_log10_sf(n, weights, xs)
    assert max(map(relative_error, got, (exact_log10(exact[x], exact[0]) for x in xs))) < ACCURACY


@given(st.integers(1, 10**6), weight_lists, st.randoms())
def test_weighted_does_not_depend_on_the_order_of_weights(n, weights, random):
    shuffled = list(weights)
    random.shuffle(shuffled)
    x = n * sum(weights) // 2 + 1
    assert weighted_binomial_log10_sf(n, weights, x) == weighted_binomial_log10_sf(n, shuffled, x)
