import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verify import linear
from verify.linear import (
    ONE,
    LinearForm,
    centred_sum,
    detectable,
    fixed_point,
    log10_e,
    log10_p,
    log10_p_estimate,
    standard_deviation,
    z,
)
from watermark.schemes import parse
from watermark.schemes.gumbel import score_table

SPECS = ["gumbel", "tournament", "tournament:layers=1", "greenlist", "greenlist:gamma=0.01"]
LAWS = [parse(spec).law for spec in SPECS]
X = np.array([-4.0, -1.0, -0.26, -0.2499, -1e-3, -1e-9, 1e-9, 1e-3, 0.2499, 0.26, 1.0, 4.0])


def draw(law, rng, n):
    """n integer scores."""
    if hasattr(law, "table"):
        return law.table[rng.integers(0, len(law.table), n)]
    if hasattr(law, "p"):
        return (rng.random(n) < law.p).astype(np.int64)
    return rng.integers(0, 2, (n, len(law.weights))) @ np.array(law.weights)


def some_form(law, rng, n=300, scale=0.05):
    a = fixed_point(rng.normal(size=n) * scale)
    a = a[a != 0]
    return LinearForm.of(a, draw(law, rng, len(a)), n_windows=n), a / ONE


def exact_k(law, x):
    """ln E exp(x (s - mu)) in 40 digits, from the law's own definition."""
    x = mpmath.mpf(x)
    if hasattr(law, "table"):
        values = [mpmath.mpf(v) / law.unit for v in score_table().tolist()]
        mu = mpmath.fsum(values) / len(values)
        return mpmath.log(mpmath.fsum(mpmath.exp(x * (v - mu)) for v in values) / len(values))
    if hasattr(law, "p"):
        return mpmath.log(1 - mpmath.mpf(law.p) + law.p * mpmath.exp(x)) - x * law.p
    return mpmath.fsum(mpmath.log(mpmath.cosh(x * w / (2 * law.unit))) for w in law.weights)


@pytest.mark.parametrize("law", LAWS, ids=SPECS)
def test_centred_log_mgf_agrees_with_mpmath_on_both_sides(law):
    with mpmath.workdps(40):
        some = X[[0, 3, 7]] if hasattr(law, "table") else X
        assert law.log_mgf_centred(some) == pytest.approx([float(exact_k(law, x)) for x in some], rel=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=SPECS)
def test_centred_log_mgf_is_the_cumulant_expansion_for_tiny_x(law):
    x = np.array([-1e-8, 1e-8])
    variance = law.table.var() / law.unit**2 if hasattr(law, "table") else law.variance
    assert law.log_mgf_centred(x) == pytest.approx(x * x / 2 * variance, rel=1e-6)


def test_bins_hold_the_powers_they_name():
    """2^((i-1)/64) < A <= 2^(i/64), in integers: A^64 <= 2^i < ..."""
    bins = linear._bin_table()
    positive, negative = bins[ONE + 1 :].astype(int), bins[:ONE][::-1].astype(int)
    assert (negative == positive + 1281).all()
    assert (np.diff(positive) >= 0).all()
    assert (positive[0], positive[-1]) == (0, 1280)
    ends = np.flatnonzero(np.diff(positive, append=1281))  # the last of each bin
    for a in (ends + 1).tolist():
        i = int(positive[a - 1])
        assert a**64 <= 2**i
        assert (a + 1) ** 64 > 2**i


@pytest.mark.parametrize("law", LAWS, ids=SPECS)
def test_rounding_up_makes_a_bound_of_one_percent(law):
    rng = np.random.default_rng(5)
    form, a = some_form(law, rng)
    theta, found = linear._log_mgf(law, form)
    scale = theta * np.abs(a).max() * law.variance**0.5
    for j in np.flatnonzero((scale > 1e-4) & (scale < 3.9))[::150]:
        exact = law.log_mgf_centred(theta[j] * a).sum()
        assert exact * (1 - 1e-9) < found[j] < exact * 1.025


def test_chernoff_bound_is_never_below_the_true_tail():
    """Bernoulli scores with equal coefficients: the tail is binomial and exact."""
    from scipy.special import bdtrc

    law, n = parse("greenlist").law, 400
    for k in range(100, 180, 7):
        scores = np.array([1] * k + [0] * (n - k))
        form = LinearForm.of(np.full(n, ONE // 3), scores, n_windows=n)
        exact = np.log10(bdtrc(k - 1, n, law.p))
        assert exact <= log10_p(law, form) <= 0
        if k > 120:
            assert log10_p(law, form) < 0.97 * exact + 1.0
            assert log10_p_estimate(law, form) == pytest.approx(exact, abs=0.12)


@pytest.mark.parametrize("law", LAWS, ids=SPECS)
def test_estimate_follows_the_exact_tail_of_a_sum(law):
    """Monte Carlo over 800 sums: the estimate's median and 5 % point are where they should be."""
    rng = np.random.default_rng(2)
    a = fixed_point(np.abs(rng.normal(size=400)) * 0.3 + 0.01)
    forms = [LinearForm.of(a, draw(law, rng, 400), n_windows=1) for _ in range(800)]
    found = np.array([log10_p_estimate(law, f) for f in forms])
    for level in (0.3, 0.05):
        rate = (found <= np.log10(level)).mean()
        assert abs(rate - level) < 4 * (level / 800) ** 0.5 + 0.1 * level
    assert all(log10_p_estimate(law, f) <= log10_p(law, f) for f in forms[:100])


def test_gumbel_uses_the_law_as_rounded():
    """A sum of many small coefficients: with the mean of Exp(1) instead, the null would sit 30 sd off."""
    law, rng, n = parse("gumbel").law, np.random.default_rng(3), 1 << 21
    sums = [z(law, LinearForm.of(np.full(n, 900), draw(law, rng, n), n_windows=n)) for _ in range(6)]
    assert np.abs(sums).max() < 4
    assert (1 - law.mean) * n**0.5 > 0.1


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_partition_and_order_gives_the_same_bytes(data):
    n = data.draw(st.integers(1, 60))
    a = np.array(data.draw(st.lists(st.integers(-ONE, ONE).filter(bool), min_size=n, max_size=n)))
    s = np.array(data.draw(st.lists(st.integers(0, 2**31 - 1), min_size=n, max_size=n)))
    whole = LinearForm.of(a, s, n_windows=n)
    order = np.array(data.draw(st.permutations(range(n))))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=4)))
    form = LinearForm.empty()
    for part in np.split(order, cuts):
        form = LinearForm.of(a[part], s[part], n_windows=len(part)) + form
    assert form.to_bytes() == whole.to_bytes()
    assert whole.total == sum(x * y for x, y in zip(a.tolist(), s.tolist(), strict=True))
    assert whole.sum_squares == sum(x * x for x in a.tolist())


def test_the_largest_scores_and_coefficients_do_not_overflow():
    n = 1 << 15
    form = LinearForm.of(np.full(n, ONE), np.full(n, 2**31 - 1), n_windows=1)
    assert form.total == n * ONE * (2**31 - 1)
    assert form.sum_squares == n * ONE**2


@pytest.mark.parametrize("law", LAWS, ids=SPECS)
def test_no_nan_and_nothing_above_zero(law):
    rng = np.random.default_rng(4)
    empty = LinearForm.empty()
    assert (log10_p(law, empty), log10_e(law, empty), z(law, empty)) == (0.0, pytest.approx(0, abs=1e-12), 0.0)
    for scale in (1e-6, 1e-3, 0.1, 1.0, 5.0):
        for sign in (1, -1):
            a = fixed_point(rng.normal(size=200) * scale)
            a = a[a != 0]
            extreme = np.where(a * sign > 0, 1, 0) * (law.table[-1] if hasattr(law, "table") else law.unit)
            form = LinearForm.of(a, extreme.astype(np.int64), n_windows=10)
            values = [log10_p(law, form), log10_e(law, form), log10_p_estimate(law, form), z(law, form)]
            assert np.isfinite(values).all()
            if centred_sum(law, form) <= 0:
                assert values[0] == 0.0
            assert values[0] <= 0
            assert values[0] <= -values[1] + 1e-9  # a mixture never beats the best theta


@pytest.mark.parametrize("law", LAWS, ids=SPECS)
@pytest.mark.parametrize("mixture", [True, False])
def test_what_is_detectable_is_found(law, mixture):
    form, _ = some_form(law, np.random.default_rng(6), scale=0.3)
    wanted = detectable(law, form, -6.0, mixture=mixture)

    def at(total):
        """The same coefficients with another sum, to one integer score."""
        shift = round((total - centred_sum(law, form)) * law.unit * ONE)
        return LinearForm(**{**vars(form), "total": form.total + shift})

    value = (lambda f: -log10_e(law, f)) if mixture else (lambda f: log10_p(law, f))
    assert value(at(wanted * 1.0001)) <= -6
    assert value(at(wanted * (0.8 if mixture else 0.999))) > -6
    assert wanted > 3 * standard_deviation(law, form)


def test_fixed_point_clips_rounds_and_refuses_nan():
    given_ = np.array([2.0, -3.0, 0.25, 2.0**-22, -(2.0**-20)])
    assert fixed_point(given_).tolist() == [ONE, -ONE, ONE // 4, 0, -1]
    assert given_[0] == 2.0
    with pytest.raises(ValueError, match="not a number"):
        fixed_point(np.array([np.nan]))
