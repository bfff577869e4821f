import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.hypotheses.multiplicity import benjamini_hochberg, e_bh, holm

FAMILY = st.lists(st.floats(-400, 0), min_size=1, max_size=30)


def test_textbook_values():
    """p = .01, .02, .03, .04: by hand."""
    p = np.log10([0.03, 0.01, 0.04, 0.02])
    np.testing.assert_allclose(10 ** holm(p), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(10 ** benjamini_hochberg(p), [0.04, 0.04, 0.04, 0.04])
    np.testing.assert_allclose(10 ** e_bh(np.log10([40.0, 1.0, 400.0, 2.0])), [0.05, 1.0, 0.01, 2 / 3])


@given(FAMILY, st.floats(-10, -0.5))
def test_rejections_are_those_of_the_procedures(log10_p, level):
    """Against the step-down and step-up definitions, written out."""
    p, m = np.sort(log10_p), len(log10_p)
    steps = [p[j] <= level - np.log10(m - j) for j in range(m)]
    down = steps.index(False) if False in steps else m
    assert (holm(log10_p) <= level).sum() == pytest.approx(down, abs=0)
    up = max((j + 1 for j in range(m) if p[j] <= level + np.log10(j + 1) - np.log10(m)), default=0)
    assert (benjamini_hochberg(log10_p) <= level).sum() == up
    e = np.sort(-np.array(log10_p))[::-1]
    best = max((j + 1 for j in range(m) if e[j] >= np.log10(m) - np.log10(j + 1) - level), default=0)
    assert (e_bh(-np.array(log10_p)) <= level).sum() == best


@given(FAMILY)
def test_order_does_not_matter_and_nothing_gets_smaller(log10_p):
    p = np.array(log10_p)
    for adjust in (holm, benjamini_hochberg):
        adjusted = adjust(p)
        assert (adjusted >= p - 1e-12).all()
        assert (adjusted <= 0).all()
        np.testing.assert_allclose(adjust(p[::-1]), adjusted[::-1])


def test_tiny_p_values_survive():
    assert holm([-3000.0, -1.0])[0] == pytest.approx(-3000 + np.log10(2))
    assert e_bh([5000.0, -np.inf]).tolist() == [pytest.approx(-5000 + np.log10(2)), 0.0]


def test_refuses_what_is_no_logarithm():
    with pytest.raises(ValueError, match="above 0"):
        holm([0.5])
    with pytest.raises(ValueError, match="not a number"):
        e_bh([float("nan")])
    assert holm([]).size == 0


def test_family_wise_and_false_discovery_rates_hold_and_uncorrected_fails():
    """2,000 families of 20 true nulls: the chance of any rejection at 5 %; without correction it is 64 %."""
    rng = np.random.default_rng(11)
    p = np.log10(rng.random((2000, 20)))
    level = np.log10(0.05)
    raw = (p <= level).any(axis=1).mean()
    for adjust in (holm, benjamini_hochberg):
        rate = np.mean([(adjust(row) <= level).any() for row in p])
        assert rate < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 2000)
    assert raw > 0.5
