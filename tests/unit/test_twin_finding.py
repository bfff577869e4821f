import json

import numpy as np
import pytest

from verify.errors import Refused
from verify.twin_finding import Pairwise, find, wilson

CHOICES = {"missing": "loss", "statistic": "sign", "alpha": 1e-6, "scored_by": "log-likelihood", "options": {}}


def pairs(wins, losses, *, account=None, conversation=None, drawn="serving", missing=0):
    d = [*np.linspace(1, 2, wins), *-np.linspace(0.1, 0.2, losses), *[None] * missing]
    return [Pairwise(x, account, conversation and f"{conversation}-{i}", drawn) for i, x in enumerate(d)]


def test_found_and_its_words():
    f = find(pairs(46, 4), **CHOICES)
    assert f.found
    assert f.log10_p == f.log10_p_sign < -9
    assert f.log10_p_rank < f.log10_p_sign
    assert "46 of 50 served answers scored above their twins" in f.sentence
    assert "at most 10^-9.6" in f.sentence
    assert json.loads(json.dumps(f.to_dict(), allow_nan=False))["found"] is True


def test_not_found_says_what_would_have_been():
    f = find(pairs(30, 20), **CHOICES)
    assert not f.found
    assert f.smallest_rate == pytest.approx(0.92, abs=0.03)
    assert "Not found does not mean not there" in f.sentence


def test_missing_pairs_count_as_the_largest_losses_unless_dropped():
    kept = find(pairs(40, 0, missing=10), **CHOICES)
    assert (kept.signs.wins, kept.signs.losses, kept.n_missing, kept.n_pairs) == (40, 10, 10, 50)
    dropped = find(pairs(40, 0, missing=10), **CHOICES | {"missing": "drop"})
    assert (dropped.signs.losses, dropped.n_pairs) == (0, 50)
    assert dropped.log10_p < kept.log10_p
    worst = find([*pairs(40, 0), *[Pairwise(-9.0, None, None, "serving")] * 10], **CHOICES)
    assert kept.log10_p_rank == pytest.approx(worst.log10_p_rank)


def test_too_few_pairs_are_refused_by_what_they_could_reach():
    with pytest.raises(Refused, match="only 19 of 25 pairs"):
        find([*pairs(19, 0), *[Pairwise(0.0, None, None, "serving")] * 6], **CHOICES)
    find(pairs(20, 0), **CHOICES)


def test_ranks_are_refused_where_a_conversation_has_two_pairs():
    two = [Pairwise(1.0, None, "c", "serving")] * 25
    with pytest.raises(Refused, match="more than one pair"):
        find(two, **CHOICES | {"statistic": "rank"})
    assert find(two, **CHOICES).log10_p_rank is None
    assert find(pairs(25, 0, conversation="c"), **CHOICES | {"statistic": "rank"}).found


def test_accounts_are_adjusted_for_all_that_were_tested():
    f = find([*pairs(30, 0, account="guilty"), *pairs(15, 15, account="b"), *pairs(14, 16, account="c")], **CHOICES)
    guilty, *others = f.accounts
    assert guilty.log10_p_holm == pytest.approx(guilty.log10_p + np.log10(3))
    assert guilty.log10_p_holm < -8
    assert guilty.log10_e_bh < -6
    assert all(a.log10_p_holm > -1 and a.log10_e_bh == 0.0 for a in others)


def test_assumptions_name_when_twins_were_drawn():
    assert "coins" in find(pairs(20, 0), **CHOICES).assumptions[0]
    later = find(pairs(20, 0, drawn="later"), **CHOICES)
    assert "numerics" in later.assumptions[0]
    mixed = find([*pairs(10, 0), *pairs(10, 0, drawn="later")], **CHOICES)
    assert mixed.drawn == "both"
    assert len(mixed.assumptions) == 6


def test_wilson_interval_of_the_textbook():
    """Newcombe 1998, table I: 81 of 263."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_conversation_whose_later_turns_tie_after_luck_is_not_found_too_often():
    """A stopping rule in disguise: turns are told apart only until the wins so far look good."""
    rng, level, found, binomial = np.random.default_rng(3), 0.05, 0, 0
    for _ in range(300):
        d = np.where(rng.random(400) < 0.5, 1.0, -1.0)
        ahead = d.cumsum() >= 1.7 * np.sqrt(np.arange(1, 401))
        ahead[:20] = False
        if ahead.any():
            d[ahead.argmax() + 1 :] = 0
        f = find([Pairwise(float(x), "a", "c", "serving") for x in d], **CHOICES | {"alpha": level})
        assert f.accounts[0].log10_p == f.log10_p == f.log10_p_sign
        found += f.found
        binomial += f.signs.log10_p <= np.log10(level)
    assert found <= 300 * level
    assert binomial > 2 * 300 * level  # what the sign test alone would have said


def test_the_share_that_was_replayed_is_stated_and_rounded_down():
    alike = [Pairwise(1.0, None, None, "later", i > 0) for i in range(30)]
    f = find([*alike, *pairs(5, 0, drawn="later")], **CHOICES)
    assert (f.n_drawn_again, f.n_replayed) == (30, 29)
    assert "came out alike: 29 of 30 token for token (96.6 %)" in f.assumptions[1]
    assert not any("drew again" in a for a in find(pairs(20, 0, drawn="later"), **CHOICES).assumptions)


def test_coins_are_assumed_unless_they_were_recomputed():
    f = find(pairs(20, 0), **CHOICES)
    assert f.assumptions[0] == "the coins are as the provider's key gives them"
    again = find(pairs(20, 0), **CHOICES, coin_key="ab12")
    assert again.assumptions[0].startswith("coins recomputed from node ab12 are as the pairs state them")
    assert again.assumptions[1:] == f.assumptions[1:]
