from math import log10

import numpy as np
import pytest
from scipy.special import gammainccinv

from tests.conftest import make_epoch
from verify.errors import Refused
from verify.finding import find
from verify.scoring import Score, summarize
from watermark.windows import TokenBatch

UNIT = 65_536
KEY = make_epoch(shares="fleet=1").value_key("fleet")
SUMMARY = summarize(TokenBatch(np.arange(1002, dtype=np.uint32), np.array([0, 1002])), 2)


def finding(mean=1.0, n=1000, spread=1.0, alpha=1e-6):
    """A finding from made-up scores with this mean and standard deviation, in nats."""
    total = round(n * mean * UNIT)
    squares = round(n * (mean**2 + spread**2) * UNIT**2)
    return find(SUMMARY, KEY, Score(n, total, squares, 1000 - n), alpha=alpha, decoys=None, tokenizer=None, options={})


def test_effect_and_interval():
    f = finding(mean=1.25, spread=2.0)
    half = 1.959964 * 2.0 / 1000**0.5
    assert f.excess == pytest.approx(0.25, abs=2e-4)  # the rounded score's mean is 1e-4 below 1
    assert f.excess_interval == pytest.approx((0.25 - half, 0.25 + half), abs=3e-4)


def test_interval_is_never_narrower_than_the_null_allows():
    low, high = finding(mean=1.0, spread=0.0).excess_interval
    assert high - low == pytest.approx(2 * 1.959964 / 1000**0.5, abs=1e-5)


def test_smallest_share_is_found_95_percent_of_the_time():
    """By simulation: text with exactly that share of full-strength excess, at the null's own variance."""
    f, effect = finding(), KEY.deployment.scheme.full_excess
    totals = 1000 * (1 + f.smallest_share * effect) + np.random.default_rng(0).normal(0, 1000**0.5, 20_000)
    assert (totals > gammainccinv(1000, 1e-6)).mean() == pytest.approx(0.95, abs=0.005)


def test_no_share_is_stated_where_the_strength_was_not_measured():
    key = make_epoch(scheme="greenlist:delta=0,gamma=0.25", shares="fleet=1").value_key("fleet")
    f = find(SUMMARY, key, Score(1000, 250, 250, 0), alpha=1e-6, decoys=None, tokenizer=None, options={})
    assert f.smallest_share is None
    assert "measured" not in f.sentence


def test_a_sentence_never_claims_more_than_the_cipher_allows():
    f = finding(mean=3.0)
    assert f.log10_p < -100
    assert f.log10_p_stated == pytest.approx(2 * 3 - 129 * log10(2), abs=1e-3)
    assert finding(mean=1.0).log10_p_stated == pytest.approx(finding(mean=1.0).log10_p)
    tiny = finding(mean=5.0, n=40)
    assert tiny.log10_p_stated > -128 * log10(2)


def test_counts_add_up():
    f = finding(n=900)
    assert f.n_seen == f.n_scored + sum(f.n_dropped.values()) == 1002
    assert f.n_dropped == {
        **{"first_h": 2, "repeated_window": 0, "copied_from_prompt": 0, "duplicate": 0},
        "other_channel": 100,
    }


@pytest.mark.parametrize(("n", "refused"), [(31, True), (32, False)])
def test_too_few_pairs_are_refused(n, refused):
    if refused:
        with pytest.raises(Refused, match="only 31 of 1002 tokens can be scored for channel fleet") as caught:
            finding(n=n)
        assert caught.value.exit_code == 3
    else:
        assert finding(n=n).n_scored == 32


def test_found_at_the_edge():
    """p equal to alpha is found: the test has level alpha."""
    p = finding(mean=1.1).log10_p
    edge = next(a for a in (10**p * (1 + k * 1e-16) for k in range(-40, 40)) if log10(a) == p)
    assert finding(mean=1.1, alpha=edge).found
    assert not finding(mean=1.1, alpha=edge * 0.999).found


@pytest.mark.parametrize("mean", [1.01, 1.05, 1.2, 1.5, 3.0])
def test_shown_p_is_never_smaller_than_the_number(mean):
    f = finding(mean=mean, alpha=0.5)
    shown = f.sentence.split("10^")[1].split(" ")[0] if f.found else None
    assert f.found
    assert float(shown) >= f.log10_p_stated >= f.log10_p
    assert float(shown) - f.log10_p_stated < 0.1 + 1e-9


def test_null_sentence_shows_p_and_warns():
    f = finding(mean=1.0)
    shown = float(f.sentence.split("(p = ")[1].split(",")[0])
    assert 10**f.log10_p <= shown < 10**f.log10_p + 2e-6
    assert f.sentence.endswith("Not found does not mean not there.")
    assert "guilt" not in f.sentence


def test_little_text_says_that_it_could_not_have_been_found():
    f = finding(n=32)
    assert f.smallest_share > 1
    assert "In so little text a mark as strong as measured" in f.sentence


def test_dictionary_is_plain_json():
    import json

    d = finding().to_dict()
    assert json.loads(json.dumps(d, allow_nan=False)) == d


def test_only_what_was_served_is_judged_by_the_e_value_and_says_so():
    """The detection limit is where 1 / e reaches alpha, not where the exact tail would."""

    def served(total, n_not_served):
        score = Score(1000, total, 2000 * UNIT**2, 0)
        choices = {"alpha": 1e-6, "decoys": None, "tokenizer": None, "options": {}}
        return find(SUMMARY, KEY, score, n_not_served=n_not_served, **choices)

    whole, part = (served(1000 * UNIT, n) for n in (None, 0))
    effect, above = KEY.deployment.scheme.full_excess, 1.6449 * 1000**0.5
    limit = round((1000 * (1 + part.smallest_share * effect) - above) * UNIT)
    assert part.smallest_share > whole.smallest_share
    assert served(limit + UNIT, 0).found
    assert not served(limit - UNIT, 0).found
    assert served(limit - UNIT, None).found
    assert any("served answers" in a for a in part.to_dict()["assumptions"])
    assert not any("served answers" in a for a in whole.to_dict()["assumptions"])
