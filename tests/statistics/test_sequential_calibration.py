"""Looking after every answer: the e-processes hold their level under the null, and a peeked p-value does not.

Each check fails with probability below 10^-6 if the code is right; seeds are fixed.
"""

import numpy as np
import pytest
from scipy.special import bdtrc

from benchmarks.texts import corpora
from tests.conftest import make_epoch
from verify.hypotheses import closed
from verify.hypotheses.sequential import ClosedProcess, log10_e_signs
from verify.tails import binomial_log10_sf
from watermark.keys import ValueKey
from watermark.secret import Secret

ALARM = 1e-6
PATHS = 10_000


def too_many(count, trials, rate):
    """P(at least `count` of `trials` at `rate`) is below the alarm."""
    return bdtrc(count - 1, trials, rate) < ALARM if count else False


def coins(rng, n, p=0.5):
    """(PATHS, n) wins so far."""
    return np.cumsum(rng.random((PATHS, n)) < p, axis=1)


def test_fair_coins_seldom_reach_the_threshold_at_any_time():
    n = np.arange(1, 501)
    wins = coins(np.random.default_rng(1), 500)
    table = log10_e_signs(np.arange(501)[:, None], np.arange(501)[None, :])
    largest = table[wins, n - wins].max(axis=1)
    for alpha in (0.1, 0.01):
        count = int((largest >= -np.log10(alpha)).sum())
        assert not too_many(count, PATHS, alpha), (alpha, count)
        assert count > PATHS * alpha / 10, "a test that never rejects shows nothing"


def test_a_p_value_looked_at_after_every_coin_fails_the_same_check():
    wins = coins(np.random.default_rng(1), 500)
    smallest = np.min([binomial_log10_sf(n, 0.5, wins[:, n - 1]) for n in range(1, 501)], axis=0)
    for alpha in (0.1, 0.01):
        assert too_many(int((smallest <= np.log10(alpha)).sum()), PATHS, alpha)


def test_biased_coins_are_found():
    wins = coins(np.random.default_rng(2), 500, p=0.65)
    assert (log10_e_signs(wins[:, -1], 500 - wins[:, -1]) >= 2).mean() > 0.9


ANSWERS = 8


def answers(width=2):
    """Prose in answers of some 24 pairs; the third repeats the first, and pairs repeat across all."""
    pairs = corpora("prose", width, length=200, count=1)[0]
    parts = [pairs[start : start + 24] for start in range(0, 24 * ANSWERS, 24)]
    return [*parts[:2], parts[0], *parts[2:]]


def random_key(rng, like):
    return ValueKey(Secret(rng.bytes(16)), like.selector, like.path, like.deployment)


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_random_keys_seldom_reach_the_threshold_at_any_time(scheme):
    """Real text, random keys: max e over the answers, and the fixed-sample p at its smallest over the same looks."""
    like = make_epoch(scheme=scheme, shares="fleet=1").value_key("fleet")
    law, rng, parts, trials = like.deployment.scheme.law, np.random.default_rng(7), answers(), 1500
    largest, totals = np.empty(trials), np.empty((trials, len(parts)), dtype=np.int64)
    for trial in range(trials):
        process = ClosedProcess(random_key(rng, like))
        states = [process.add(part) for part in parts]
        largest[trial] = process.evidence.log10_e_max
        assert largest[trial] == max(0.0, *(s.log10_e for s in states))
        totals[trial] = [s.total for s in states]
        counts = [s.n_scored for s in states]
    assert counts[2] == counts[1], "an answer that was given before adds nothing"
    for alpha in (0.1, 0.01):
        assert not too_many(int((largest >= -np.log10(alpha)).sum()), trials, alpha)
    peeked = np.min([closed.log10_p(law, n, totals[:, k]) for k, n in enumerate(counts)], axis=0)
    assert too_many(int((peeked <= -1).sum()), trials, 0.1)


def test_ten_thousand_paths_of_scores():
    """Scores drawn from the law, looked at 20 times: the mixture e-value as the process forms it."""
    law = make_epoch(shares="fleet=1").value_key("fleet").deployment.scheme.law
    rng = np.random.default_rng(9)
    scores = np.floor(rng.exponential(size=(PATHS, 20, 5)) * law.unit).sum(axis=2).astype(np.int64)
    totals, largest = np.cumsum(scores, axis=1), np.zeros(PATHS)
    for k in range(20):
        e = [closed.log10_e(law, 5 * (k + 1), int(total)) for total in totals[:, k]]
        largest = np.maximum(largest, e)
    for alpha in (0.1, 0.01):
        count = int((largest >= -np.log10(alpha)).sum())
        assert not too_many(count, PATHS, alpha)
        assert count > PATHS * alpha / 50
