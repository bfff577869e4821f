import numpy as np
import pytest

from verify.hypotheses.twin import Signs, by_group, signed_rank_log10_p
from verify.tails import binomial_log10_sf


def test_counts_and_p():
    signs = Signs.of(np.array([1.0, 2.0, -1.0, 0.0, 3.0]))
    assert signs == Signs(wins=3, losses=1, ties=1)
    assert signs.log10_p == pytest.approx(float(binomial_log10_sf(4, 0.5, 3)))
    assert Signs(0, 0, 5).log10_p == 0.0


def test_the_pilot_of_the_field():
    """186 of 200: far below 1e-30, and 43 of 50 is enough for 1e-6."""
    assert Signs(186, 14, 0).log10_p < -36
    assert Signs(43, 7, 0).log10_p < -6 < Signs(40, 10, 0).log10_p


def test_signed_ranks_use_magnitudes_that_signs_do_not():
    d = np.concatenate([np.linspace(5, 6, 14), -np.linspace(0.1, 0.2, 6)])
    assert signed_rank_log10_p(d) < Signs.of(d).log10_p
    assert signed_rank_log10_p(-d) > -0.01
    assert signed_rank_log10_p(np.zeros(3)) == 0.0


def test_equal_magnitudes_are_the_sign_test():
    d = np.array([1.0] * 15 + [-1.0] * 5)
    assert signed_rank_log10_p(d) == pytest.approx(Signs.of(d).log10_p)


def test_ranks_are_those_of_the_textbook():
    """Wilcoxon's n = 10, W+ = 50: P(W >= 50) = 11/1024 by counting the subsets of 1..10 that sum to at most 5."""
    d = np.array([-1.0, 2, 3, -4, 5, 6, 7, 8, 9, 10])
    subsets = sum(1 for k in range(1024) if sum(i + 1 for i in range(10) if k >> i & 1) <= 5)
    assert signed_rank_log10_p(d) == pytest.approx(np.log10(subsets / 1024))


def test_groups_keep_their_order():
    groups = by_group(np.array([1.0, -1.0, 1.0, 0.0]), ["b", "a", "b", "a"])
    assert list(groups.items()) == [("b", Signs(2, 0, 0)), ("a", Signs(0, 1, 1))]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="not finite"):
        Signs.of(np.array([1.0, bad]))
    with pytest.raises(ValueError, match="not finite"):
        signed_rank_log10_p(np.array([1.0, bad]))


def test_both_tests_hold_under_fair_coins_whatever_the_magnitudes():
    """3,000 suspects with heavy tails and ties; at 10, 5 and 1 % each rate stays under its level and 4 deviations."""
    rng = np.random.default_rng(3)
    signs, ranks = [], []
    for _ in range(3000):
        size = np.round(np.exp(3 * rng.normal(size=40)), 1)
        d = size * rng.choice([-1.0, 1.0], size=40)
        signs.append(Signs.of(d).log10_p)
        ranks.append(signed_rank_log10_p(d))
    for level in (0.1, 0.05, 0.01):
        for p in (signs, ranks):
            rate = np.mean(np.array(p) <= np.log10(level))
            assert 0.3 * level < rate < level + 4 * np.sqrt(level * (1 - level) / 3000)
