"""Over random keys the drawn token has the model's own law. Seeds are fixed; the bound is one in 10^5 per case."""

import numpy as np
import pytest
from scipy.special import chdtrc

from tests.conftest import make_epoch
from watermark.sampling import Request, Sampler

TRIALS = 6000
ALPHA = 1e-5
LAW = np.array([0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.015, 0.005])


def chi_square_p(counts, law):
    expected = law * counts.sum()
    return chdtrc(len(law) - 1, ((counts - expected) ** 2 / expected).sum())


def draws(scheme, shares, width=1, prefix=(3,), offset=0):
    """The token after `prefix`, for `TRIALS` random keys."""
    logits = np.full((1, offset + len(LAW)), -np.inf)
    logits[0, offset:] = np.log(LAW)
    counts = np.zeros(len(LAW), dtype=int)
    for trial in range(TRIALS):
        sampler = Sampler(make_epoch(trial, scheme=scheme, shares=shares, width=width))
        response = sampler.start(Request("r", account="1"))
        for token in prefix:
            response.take(token, "given")
        counts[sampler.draw([response], logits)[0] - offset] += 1
    return counts


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "tournament:layers=3"])
@pytest.mark.parametrize("shares", ["fleet=1", "account=1", "leaf=1"])
def test_law_of_a_token_is_the_models(scheme, shares):
    assert chi_square_p(draws(scheme, shares), LAW) > ALPHA


@pytest.mark.parametrize("scheme", ["gumbel", "tournament", "greenlist"])
def test_first_positions_and_repeated_windows_are_drawn_plainly(scheme):
    assert chi_square_p(draws(scheme, "fleet=1", prefix=()), LAW) > ALPHA
    assert chi_square_p(draws(scheme, "fleet=1", prefix=(3, 3, 3)), LAW) > ALPHA


def test_law_holds_for_ids_above_65536():
    assert chi_square_p(draws("gumbel", "fleet=1", prefix=(70_000,), offset=131_000), LAW) > ALPHA


def test_the_check_can_fail():
    """A strong green list distorts the law even over random keys, and the check sees it."""
    counts = draws("greenlist:delta=4,gamma=0.25", "fleet=1")
    assert chi_square_p(counts, LAW) < ALPHA


def test_joint_law_of_two_tokens_is_the_models():
    """Also the second token, whose window the first one chose: independent of the first."""
    joint = np.zeros((3, 3), dtype=int)
    law = np.array([0.6, 0.3, 0.1])
    for trial in range(TRIALS):
        sampler = Sampler(make_epoch(trial, width=1, shares="fleet=1"))
        response = sampler.start(Request("r"))
        response.take(9, "given")
        logits = np.log(law)[None]
        joint[sampler.draw([response], logits)[0], sampler.draw([response], logits)[0]] += 1
    assert chi_square_p(joint.ravel(), np.outer(law, law).ravel()) > ALPHA
