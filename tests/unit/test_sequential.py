"""The e-processes against exact arithmetic, and the forecast of further answers."""

from math import inf, log10

import mpmath
import numpy as np
import pytest

from tests.conftest import make_epoch
from verify.distinct import Pairs, concatenate, distinct
from verify.hypotheses import closed
from verify.hypotheses.sequential import ClosedProcess, Evidence, Remaining, log10_e_signs, remaining
from verify.scoring import score

LAWS = [make_epoch(scheme=scheme).deployment.scheme.law for scheme in ("gumbel", "tournament", "greenlist")]


def exact_signs(wins, losses):
    """log10 of integral_0^1 (1 + t)^w (1 - t)^l dt, from its binomial sum: for w <= l by positive terms alone."""
    with mpmath.workdps(60):
        if wins > losses:
            both = mpmath.mpf(2) ** (wins + losses + 1) * mpmath.beta(wins + 1, losses + 1)
            return float(mpmath.log10(both - mpmath.mpf(10) ** exact_signs_mp(losses, wins)))
        return float(exact_signs_mp(wins, losses))


def exact_signs_mp(wins, losses):
    total, term = mpmath.mpf(0), mpmath.mpf(1) / (losses + 1)
    for i in range(wins + 1):
        total += term
        term *= mpmath.mpf(wins - i) / (losses + 2 + i)
        if term < total * mpmath.mpf(10) ** -50:
            break
    return mpmath.log10(total)


COUNTS = [
    *((0, 0), (1, 0), (0, 1), (5, 7), (7, 5), (1000, 1000), (0, 900), (0, 928), (0, 929), (0, 2000), (400, 3000)),
    *((3000, 400), (10**4, 13_800), (10**7, 0), (0, 10**7), (4_900_000, 5_100_000), (4_930_000, 5_050_000)),
    *((5_000_000, 5_000_000), (5_003_000, 4_997_000), (7_000_000, 3_000_000), (3_000_000, 7_000_000)),
]


@pytest.mark.parametrize(("wins", "losses"), COUNTS)
def test_signs_are_exact(wins, losses):
    got, want = float(log10_e_signs(wins, losses)), exact_signs(wins, losses)
    assert got == pytest.approx(want, rel=1e-12, abs=2e-8)


def test_the_exact_sum_is_the_integral():
    for wins, losses in ((5, 7), (7, 5), (0, 40), (30, 12)):
        integral = mpmath.quad(lambda t, w=wins, m=losses: (1 + t) ** w * (1 - t) ** m, [0, 1])
        assert exact_signs(wins, losses) == pytest.approx(float(mpmath.log10(integral)), abs=1e-9)


def test_signs_have_any_shape_and_no_holes():
    wins, losses = np.arange(0, 3000, 37)[:, None], np.arange(0, 3000, 41)[None, :]
    e = log10_e_signs(wins, losses)
    assert e.shape == (wins.size, losses.size)
    assert np.isfinite(e).all()
    assert (np.diff(e, axis=0) > 0).all(), "a win more is more"
    assert (np.diff(e, axis=1) < 0).all(), "a loss more is less, also where the method changes"


def test_signs_average_at_most_one():
    """E e = 1 exactly at probability 1/2, by the sum over all outcomes of n tosses."""
    n = 60
    wins = np.arange(n + 1)
    weights = np.array([float(mpmath.binomial(n, w) / mpmath.mpf(2) ** n) for w in wins])
    assert (weights * 10 ** log10_e_signs(wins, n - wins)).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(-1, 0), (0, -1), (np.nan, 1), (1, np.inf)])
def test_signs_refuse_what_is_no_count(wins, losses):
    with pytest.raises(ValueError, match="counts"):
        log10_e_signs(wins, losses)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_process_scores_each_pair_once_and_ends_where_the_whole_corpus_does(width):
    key = make_epoch(3, width=width, shares="fleet=1").value_key("fleet")
    rng, process, parts = np.random.default_rng(width), ClosedProcess(key), []
    for _ in range(60):
        n = int(rng.integers(0, 40))
        # Few ids, so that answers share pairs; large ones too, so that every bit of a packed pair counts.
        ids = rng.choice(np.array([0, 1, 2, 255, 256, 65_536, 2**20 - 1], dtype=np.uint64), size=(n, width + 1))
        windows = np.zeros(n, dtype=np.uint64)
        for column in range(width):
            windows = windows << np.uint64(20) | ids[:, column]
        parts.append(Pairs.of(windows, ids[:, width].astype(np.uint32), width))
        process.add(parts[-1])
    whole = score(distinct(concatenate(parts)), key)
    e = process.evidence
    assert (e.n_answers, e.n_scored, e.total) == (60, whole.n, whole.total)
    assert e.n_scored < sum(map(len, parts))
    assert e.log10_e == closed.log10_e(key.deployment.scheme.law, whole.n, whole.total)


def test_the_maximum_is_kept():
    e = Evidence(log10_e=1.0, log10_e_max=3.0)
    assert e.log10_p == -3
    assert e.enough(1e-3)
    assert not e.enough(9e-4)


def corpus(law, n_answers, per_answer, excess, seed):
    """Totals of answers whose pairs have this mean excess, with noise of the null's size."""
    noise = np.random.default_rng(seed).normal(size=n_answers) * np.sqrt(law.variance * per_answer)
    return [per_answer] * n_answers, np.round((per_answer * (law.mean + excess) + noise) * law.unit).astype(int)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_remaining_is_what_it_takes(law):
    counts, totals = corpus(law, 50, 100, 0.1 * law.variance**0.5, seed=1)
    r = remaining(law, counts, totals, 1e-40)
    assert r is not None
    assert r.interval[0] < r.answers < r.interval[1]
    assert r.pairs_per_answer == 100
    n, total = sum(counts), int(sum(totals))
    mean = total / n

    def after(answers):
        return closed.log10_e(law, n + 100 * answers, total + round(100 * answers * mean))

    assert after(r.answers) > 40 - 0.05  # totals are whole numbers, of ones under a green list
    assert after(r.answers - 1) < 40


def test_remaining_covers_the_truth():
    """95 % intervals from the first answers hold what the rest of the same stream takes, most of the time."""
    law, held = LAWS[0], 0
    for seed in range(100):
        counts, totals = corpus(law, 4000, 100, 0.1, seed)
        r = remaining(law, counts[:40], totals[:40], 1e-30)
        e = [closed.log10_e(law, 100 * k, int(t)) for k, t in enumerate(np.cumsum(totals)[:400], start=1)]
        took = int(np.argmax(np.array(e) >= 30)) + 1 - 40
        held += r is not None and r.interval[0] <= took <= r.interval[1]
    assert held >= 85


def test_no_growth_has_no_forecast():
    law = LAWS[0]
    assert remaining(law, *corpus(law, 50, 100, 0.0, seed=4), 1e-6) is None
    assert remaining(law, *corpus(law, 50, 100, -0.1, seed=4), 1e-6) is None
    assert remaining(law, [], [], 1e-6) is None
    assert remaining(law, [100], [200 * law.unit], 1e-6) is None
    assert remaining(law, [100, 0, 0], [200 * law.unit, 0, 0], 1e-6) is None
    # Alike answers are not certain: the null's own spread is the least.
    assert remaining(law, [10, 10], [10 * law.unit] * 2, 1e-6) is None


def test_pairs_that_run_out_make_it_longer():
    law = LAWS[0]
    fresh = remaining(law, [100] * 40, [120 * law.unit] * 40, 1e-60)
    stale = remaining(law, [190] * 20 + [10] * 20, [228 * law.unit] * 20 + [12 * law.unit] * 20, 1e-60)
    assert fresh is not None
    assert stale is not None
    assert stale.answers > 9 * fresh.answers


def test_answers_of_unlike_length_widen_the_interval():
    law = LAWS[0]
    alike = remaining(law, [100] * 40, [110 * law.unit] * 40, 1e-60)
    unlike = remaining(law, [10, 190] * 20, [11 * law.unit, 209 * law.unit] * 20, 1e-60)
    assert alike is not None
    assert unlike is not None
    assert unlike.answers == alike.answers
    assert unlike.interval[0] < alike.interval[0] < alike.interval[1] < unlike.interval[1]


def test_an_end_without_bound_is_null_in_json():
    assert Remaining(5, (3, inf), 1.0).to_dict()["interval"] == [3, None]


def test_enough_needs_no_more():
    key = make_epoch(1, shares="fleet=1").value_key("fleet")
    process = ClosedProcess(key)
    assert process.remaining(0.1) is None
    process.evidence = Evidence(1, 10, 10, 0.0, log10(1e6))
    assert process.remaining(1e-6) == Remaining(0, (0, 0), 0.0)
