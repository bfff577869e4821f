"""False-alarm rates of the shipped p-values, e-values and decoy ranks under the null: random keys, real text.

The full run (10^6 keys per configuration) is `python -m benchmarks.calibration`; this is its fast part.
Each check fails with probability below 10^-6 if the code is right; seeds are fixed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import bdtrc

from benchmarks.calibration import Configuration, band, configurations, p_values
from benchmarks.texts import corpora, prose_ids
from tests.conftest import make_epoch
from verify.distinct import Pairs
from verify.hypotheses.closed import log10_e, log10_p
from verify.hypotheses.decoys import draw_decoys, rank, seed_of
from verify.scoring import score, summarize
from watermark.keys import ValueKey
from watermark.windows import TokenBatch, window_keys, windowed

TRIALS = 3000
ALARM = 1e-6


def too_many(count, trials, rate):
    """P(at least `count` of `trials` at `rate`) is below the alarm."""
    return bdtrc(count - 1, trials, rate) < ALARM if count else False


def violations(log10, levels=(0.3, 0.1, 0.01, 0.001)):
    return [a for a in levels if too_many(int((log10 <= np.log10(a)).sum()), len(log10), a)]


@pytest.mark.parametrize("c", list(configurations()), ids=lambda c: c.name)
def test_p_values_are_valid(c):
    log10 = p_values(c, TRIALS, seed=11)
    assert violations(log10) == []
    # Neither is the test dead: at 10 % it rejects at least half as often as it may.
    assert (log10 <= -1).mean() > 0.05


def test_counting_repeats_would_be_caught():
    """The same check on a phrase repeated a thousand times, without distinct: it fails by far."""
    ids = np.tile(prose_ids()[:60], 1000)
    batch = TokenBatch.from_documents([ids])
    at = windowed(batch, 2)
    pairs = Pairs.of(window_keys(ids, at, 2), ids[at], 2)
    law = make_epoch().deployment.scheme.law
    log10 = []
    for label in range(200):
        s = score(pairs, make_epoch(label).value_key("fleet"))
        log10.append(float(log10_p(law, s.n, s.total)))
    assert 0.001 in violations(np.array(log10))


def test_wrong_law_would_be_caught():
    """Scores of one scheme under the law of a slightly smaller mean."""
    c = Configuration("greenlist:delta=2,gamma=0.25", 2, "fleet", "prose")
    assert violations(p_values(c, TRIALS, seed=3)) == []
    wrong = type(make_epoch(scheme="greenlist").deployment.scheme.law)(p=0.22)
    key = [make_epoch(label, scheme="greenlist").value_key("fleet") for label in range(400)]
    pairs = corpora("prose", 2, length=2000, count=1)[0]
    log10 = np.array([float(log10_p(wrong, s.n, s.total)) for s in (score(pairs, k) for k in key)])
    assert violations(log10) != []


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_e_values_average_at_most_one(scheme):
    pairs = corpora("prose", 2, length=400, count=1)[0]
    epochs = (make_epoch(label, scheme=scheme, shares="fleet=1") for label in range(TRIALS))
    law = make_epoch(scheme=scheme).deployment.scheme.law
    e = 10.0 ** np.array([log10_e(law, s.n, s.total) for s in (score(pairs, k.value_key("fleet")) for k in epochs)])
    # By Markov's inequality P(e >= t) <= 1/t.
    assert [t for t in (2, 5, 20, 100) if too_many(int((e >= t).sum()), TRIALS, 1 / t)] == []
    assert e.mean() < 1 + 5 * e.std() / TRIALS**0.5
    assert e.mean() > 0.5


def test_decoy_rank_is_uniform_under_the_null():
    pairs = corpora("prose", 2, length=128, count=1)[0]
    n, trials = 19, 1500
    ranks = np.array([rank(pairs, make_epoch(t).value_key("fleet"), n=n).rank for t in range(trials)])
    counts = np.bincount(ranks, minlength=n + 2)[1:]
    assert not any(too_many(int(counts[:k].sum()), trials, k / (n + 1)) for k in range(1, n + 1))
    assert counts.min() > 0


def test_ties_count_against_the_true_key():
    """A text of one pair under a green list: most keys tie, and a tie is never evidence."""
    pairs = summarize(TokenBatch.from_documents([np.array([1, 2, 3], dtype=np.uint32)]), 2).pairs
    for label in range(30):
        key = make_epoch(label, scheme="greenlist", shares="fleet=1").value_key("fleet")
        r = rank(pairs, key, n=200)
        expected = 201 if score(pairs, key).total == 0 else 1 + sum_of_hits(pairs, key)
        assert r.rank == expected


def sum_of_hits(pairs, key):
    """How many of 200 decoys score a one."""
    decoys = draw_decoys(seed_of(pairs, key), 200)
    return sum(score(pairs, ValueKey(d, key.selector, key.path, key.deployment)).total for d in decoys)


@pytest.mark.slow
@pytest.mark.parametrize("c", list(configurations()), ids=lambda c: c.name)
def test_p_values_are_valid_over_many_keys(c):
    assert violations(p_values(c, 100_000, seed=12), (0.1, 0.01, 1e-3, 1e-4, 1e-5)) == []


def test_saved_full_runs_hold_and_cover_every_scheme_width_and_channel():
    runs = json.loads(Path("benchmarks/results/calibration.json").read_text())["runs"]
    names = {c.name for c in configurations()}
    assert set(runs) <= names
    assert {c.name for c in configurations() if c.kind == "prose"} <= set(runs)
    for run in runs.values():
        assert run["trials"] >= 1_000_000
        for level, found in run["levels"].items():
            assert found["band"] == list(band(run["trials"], int(level)))
            assert found["count"] <= found["band"][1], run
