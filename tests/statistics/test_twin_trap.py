"""The twin trap: which pairing of answers an innocent suspect passes.

Teacher and suspects are bigram models of different parts of the language reference, over 128 ids: the suspects know
nothing of what was served. The pairing is the lab's own (`benchmarks.lab.campaigns.pair`). Seeds are fixed; if the
code is right, the check of the shipped pairing fails with probability below 10^-6.
"""

import numpy as np
import pytest
from scipy.special import bdtrc

pytest.importorskip("torch")

from benchmarks.lab.campaigns import SHARES, Plan, pair
from benchmarks.texts import prose_ids
from verify.hypotheses.twin import Signs, signed_rank_log10_p
from watermark.sampling import Request, Sampler

VOCABULARY, PAIRS, LENGTH, KEYS = 128, 40, 24, 60
ALARM = 1e-6


def bigrams(part, parts=4):
    """Log-probabilities (V, V) of the next id, from one part of the prose."""
    ids = np.array_split(prose_ids() % VOCABULARY, parts)[part]
    counts = np.full((VOCABULARY, VOCABULARY), 0.05)
    np.add.at(counts, (ids[:-1], ids[1:]), 1)
    return np.log(counts / counts.sum(axis=1, keepdims=True))


def differences(label, suspect, *, shares, pairing):
    """Served less twin, under the suspect, for each pair of one campaign."""
    teacher, plan = bigrams(0), Plan(seed=label, pairs=PAIRS, width=1, shares=shares, pairing=pairing)
    starts = np.random.default_rng(label).integers(VOCABULARY, size=PAIRS)

    def drawn(epoch, member):
        sampler = Sampler(epoch)
        responses = [sampler.start(Request(f"{i}.{member}")) for i in range(PAIRS)]
        last, found = starts, []
        for _ in range(LENGTH):
            last = sampler.draw(responses, teacher[last])
            found.append(last)
        return np.stack(found, axis=1)

    def likelihood(ids):
        return suspect[ids[:, :-1], ids[:, 1:]].sum(axis=1)

    served, twins = pair(plan, np.random.default_rng([label, 1]), drawn, lambda: None)
    return np.where((served == twins).all(axis=1), 0.0, likelihood(served) - likelihood(twins))


def campaigns(**campaign):
    """The differences of an innocent under each of `KEYS` keys."""
    suspects = [bigrams(part) for part in (1, 2, 3)]
    return [differences(k, suspects[k % 3], **campaign) for k in range(KEYS)]


def accused(test, campaigns):
    """How many innocents the test accuses at 5 %, and the chance of so many if it holds its level."""
    count = sum(test(d) <= np.log10(0.05) for d in campaigns)
    return count, bdtrc(count - 1, KEYS, 0.05) if count else 1.0


def signs(d):
    return Signs.of(d).log10_p


def test_the_shipped_pairing_accuses_no_more_innocents_than_it_may():
    shipped = campaigns(shares=SHARES, pairing="shipped")
    for test in (signs, signed_rank_log10_p):
        assert accused(test, shipped)[1] > ALARM


def test_the_naive_pairing_accuses_far_more():
    """One fixed key at h = 1 without a leaf channel, twins under another: the same check fails by far."""
    assert accused(signs, campaigns(shares="fleet=1", pairing="another key"))[1] < ALARM
