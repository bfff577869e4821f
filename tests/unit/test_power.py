import numpy as np
import pytest

from verify.hypotheses import closed
from verify.hypotheses.sequential import log10_e_signs
from verify.linear import COMPONENTS
from verify.power import Need, closed_need, least_wins, open_need, smallest_rate, twin_need
from verify.tails import binomial_log10_sf
from watermark.schemes import parse

ASKED = {"alpha": 1e-6, "power": 0.95}


def test_twin_need_is_exact():
    for rate in (0.71, 0.93):
        n = twin_need(rate, **ASKED)
        wins = least_wins(n, 1e-6)
        assert float(binomial_log10_sf(n, 0.5, wins)) <= -6 < float(binomial_log10_sf(n, 0.5, wins - 1))
        assert float(binomial_log10_sf(n, rate, wins)) >= np.log10(0.95)
    assert twin_need(1.0, **ASKED) == 20
    assert twin_need(0.5, **ASKED) is None


def test_a_signal_too_faint_for_any_amount_has_no_need():
    assert open_need(1e-300, 9, **ASKED) is None
    assert open_need(1e-5, 9, **ASKED) is None


def test_smallest_rate_is_the_other_way_round():
    rate = smallest_rate(200, **ASKED)
    assert abs(twin_need(rate, **ASKED) - 200) <= 8
    assert smallest_rate(19, **ASKED) is None


@pytest.mark.parametrize("spec", ["gumbel", "tournament", "greenlist"])
def test_closed_need_is_enough_and_half_of_it_is_not(spec):
    """Simulated scores with the excess added on average."""
    law = parse(spec).law
    excess = 0.1 * law.variance**0.5
    n = closed_need(law, excess, **ASKED)
    sd = np.sqrt(n * law.variance)
    for share, expected in ((1.0, 0.95), (0.5, 0.45)):
        totals = share * n * (law.mean + excess) + np.sqrt(share) * sd * np.random.default_rng(0).normal(size=4000)
        found = closed.log10_p(law, int(share * n), (totals * law.unit).astype(int)) <= -6
        assert abs(found.mean() - expected) < 0.02 if share == 1 else found.mean() < expected


def test_needs_fall_with_the_effect_and_an_interval_that_holds_zero_has_no_end():
    need = Need.over(lambda x: closed_need(parse("gumbel").law, x, **ASKED), 0.01, (-0.001, 0.02))
    assert need.high is None
    assert need.low < need.n
    assert open_need(20.0, 2630, **ASKED) == pytest.approx(2630 * ((np.sqrt(2 * np.log(1e6)) + 1.645) / 20) ** 2, abs=1)
    assert open_need(-1.0, 10, **ASKED) is None


@pytest.mark.parametrize("spec", ["gumbel", "tournament", "greenlist"])
def test_closed_need_by_e_is_enough_for_the_e_value_and_for_nothing_less(spec):
    law = parse(spec).law
    excess = 0.1 * law.variance**0.5
    n = closed_need(law, excess, **ASKED, by_e=True)

    def log10_e(n):
        return closed.log10_e(law, n, int((n * (law.mean + excess) - 1.6449 * np.sqrt(n * law.variance)) * law.unit))

    assert log10_e(n) >= 6 - 1e-3
    assert log10_e(n * 49 // 50) < 6


def test_twin_need_by_e_is_exact():
    assert twin_need(1.0, **ASKED, by_e=True) == 24  # the first n with (2^(n+1) - 1) / (n + 1) of 10^6
    n = twin_need(0.71, **ASKED, by_e=True)
    wins = least_wins(n, 1e-6, by_e=True)
    assert float(log10_e_signs(wins, n - wins)) >= 6 > float(log10_e_signs(wins - 1, n - wins + 1))
    assert float(binomial_log10_sf(n, 0.71, wins)) >= np.log10(0.95)


def test_open_need_by_e_reaches_the_mixture_of_a_gaussian_form():
    theta = 2.0 ** np.arange(-14, 7.5, 0.5) * 30
    z = np.sqrt(open_need(20.0, 2630, **ASKED, by_e=True) / 2630) * 20 - 1.6449
    log10_e = (np.logaddexp.reduce(theta * z - theta**2 / 2) - np.log(len(theta))) / np.log(10)
    assert len(theta) == COMPONENTS
    assert 6 < log10_e < 6.3
