from itertools import combinations

import numpy as np
import pytest

from verify.hypotheses.discoveries import discoveries, true_nulls_at_most


def simes(p, alpha):
    p = np.sort(p)
    return bool((p <= alpha * np.arange(1, len(p) + 1) / len(p)).any())


def brute(p, chosen, alpha):
    """Closed testing by its definition: the largest part of the chosen that no rejected set contains."""
    m = len(p)
    kept = [set(s) for k in range(1, m + 1) for s in combinations(range(m), k) if not simes(p[list(s)], alpha)]
    largest = max((len(s & set(chosen)) for s in kept), default=0)
    return len(chosen) - largest


@pytest.mark.parametrize("alpha", [0.047, 0.31])
def test_equals_closed_testing_by_its_definition(alpha):
    rng = np.random.default_rng(int(100 * alpha))
    seen = set()
    for trial in range(300):
        m = int(rng.integers(1, 9))
        p = rng.random(m) ** rng.choice([1, 3, 8])
        if trial % 3 == 0:
            p = np.ceil(p * 20) / 20  # ties
        chosen = np.flatnonzero(rng.random(m) < 0.6)
        found = discoveries(np.log10(p), chosen, alpha)
        assert found == brute(p, chosen.tolist(), alpha), (p, chosen)
        seen.add(found)
    assert len(seen) > 3


def test_bounds_hold_for_all_sets_at_once():
    """2,000 families, 5 of 12 nulls false: some set's bound is wrong in at most 10 %, within 4 deviations."""
    rng, wrong = np.random.default_rng(0), 0
    false = np.arange(12) < 5
    for _ in range(2000):
        p = np.where(false, rng.random(12) ** 6, rng.random(12))
        # The largest excess of a bound over the truth is reached on the sets of smallest null p-values.
        order = np.argsort(np.where(false, 2.0, p))
        wrong += any(discoveries(np.log10(p), order[:k], 0.1) > 0 for k in range(1, 8))
    assert wrong / 2000 < 0.1 + 4 * (0.1 * 0.9 / 2000) ** 0.5
    assert wrong > 0


def test_ends():
    assert discoveries([], [], 0.05) == 0
    assert true_nulls_at_most([], 0.05) == 0
    assert discoveries(np.zeros(1000), np.arange(1000), 0.05) == 0
    assert discoveries(np.full(1000, -300.0), np.arange(1000), 0.05) == 1000
    some = np.concatenate([np.full(100, -12.0), np.log10(np.linspace(0.001, 1, 900))])
    assert discoveries(some, np.arange(100), 1e-3) == 100
    assert discoveries(some, some < -5, 1e-3) == 100
    for bad in ([float("nan")], [0.1], [[-1.0]]):
        with pytest.raises(ValueError, match="log10 p"):
            discoveries(bad, [0], 0.05)
