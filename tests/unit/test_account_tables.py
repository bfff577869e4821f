"""Accounts: adjusted tests in one pass, groups, and both channels together."""

import json
import tracemalloc

import numpy as np
import pytest

from verify.accounts.groups import group_results, read_groups
from verify.accounts.marks import Mark, read_marks
from verify.accounts.scores import NO_ACCOUNT, Scores
from verify.accounts.table import account_table, table_of
from verify.errors import Error
from verify.twin_finding import Pairwise, find


def pairs(accounts):
    """Pairs of accounts: {name: (wins, losses, ties, missing)}."""
    for name, counts in accounts.items():
        for difference, n in zip((1.5, -0.5, 0.0, None), counts, strict=True):
            for _ in range(n):
                yield Pairwise(difference, name, None, "serving")


def simulated(n_accounts, n_guilty, n_pairs, rate, rng):
    """Scores of a campaign: guilty accounts win with probability `rate`, others with 1/2."""
    win = np.where(np.arange(n_accounts) < n_guilty, rate, 0.5)
    wins = rng.random((n_accounts, n_pairs)) < win[:, None]
    return Scores(
        names=tuple(map(str, range(n_accounts))),
        account=np.repeat(np.arange(n_accounts, dtype=np.int32), n_pairs),
        difference=np.where(wins, 1.0, -1.0).ravel(),
        alone=True,
        drawn="serving",
    )


def test_the_table_is_the_twin_findings_own():
    given = [*pairs({"a": (30, 2, 1, 1), "b": (9, 11, 0, 0), "c": (5, 5, 5, 5)}), Pairwise(1.0, None, None, "serving")]
    for missing in ("loss", "drop"):
        table = account_table(Scores.of(given), missing=missing)
        whole = find(given, missing=missing, statistic="sign", alpha=1e-6, scored_by="x", options={})
        for index, expected in enumerate(whole.accounts):
            row = table.row(index)
            assert {k: row[k] for k in ("account", "wins", "losses", "ties")} == {
                "account": expected.account,
                **vars(expected.signs),
            }
            for name in ("log10_p", "log10_p_holm", "log10_e", "log10_e_bh"):
                assert row[name] == pytest.approx(getattr(expected, name), abs=1e-12)


def test_what_is_taken():
    found = Scores.of(
        [*pairs({"a": (1, 0, 0, 1)}), Pairwise(None, None, "c", "later"), Pairwise(2.0, "a", "c", "later")]
    )
    assert found.names == ("a",)
    assert found.account.tolist() == [0, 0, NO_ACCOUNT, 0]
    assert np.isnan(found.difference[[1, 2]]).all()
    assert (found.alone, found.drawn) == (False, "both")
    assert found.signs("loss").tolist() == [[2, 1, 0]]
    assert found.signs("drop").tolist() == [[2, 0, 0]]


def test_two_pairs_in_a_conversation_take_the_e_value():
    alone = account_table(Scores.of(pairs({"a": (40, 0, 0, 0)})), missing="loss")
    again = [Pairwise(1.0, "a", "c", "serving")] * 40
    stopped = account_table(Scores.of(again), missing="loss")
    assert stopped.log10_p[0] == pytest.approx(-stopped.log10_e[0])
    assert stopped.log10_p[0] > alone.log10_p[0]


def test_nobody_is_named_where_nobody_is_guilty():
    """400 campaigns of 1,000 innocent accounts with 200 pairs: at most 0.1 % name one; 4 would be 6 deviations."""
    rng, holm, e_bh = np.random.default_rng(0), 0, 0
    for _ in range(400):
        table = account_table(simulated(1000, 0, 200, 0.5, rng), missing="loss")
        holm += len(table.named(1e-3, by="holm")) > 0
        e_bh += len(table.named(0.01, by="e-bh")) > 0
    assert holm <= 3
    assert e_bh <= 12  # an FDR of 1 % is 1 % of campaigns here


def test_the_guilty_are_named_and_only_they():
    """20 campaigns of 1,000 accounts, 100 guilty ones with a win rate of 0.75, 150 pairs each."""
    rng, found, false = np.random.default_rng(1), [], 0
    shares = []
    for _ in range(20):
        table = account_table(simulated(1000, 100, 150, 0.75, rng), missing="loss")
        named = table.named(1e-3, by="holm")
        found.append(int((named < 100).sum()))
        false += int((named >= 100).sum())
        rate = table.named(0.01, by="e-bh")
        shares.append(float((rate >= 100).mean()) if len(rate) else 0.0)
    assert min(found) >= 60
    assert false == 0
    assert np.mean(shares) < 0.01


def test_groups_are_tested_whole_and_counted_from_below():
    rng = np.random.default_rng(2)
    scores = simulated(400, 40, 100, 0.72, rng)
    table = account_table(scores, missing="loss")
    groups = {
        "ring": [str(i) for i in range(40)],
        "half": [str(i) for i in range(20, 60)],
        "innocent": [str(i) for i in range(100, 200)],
        "small": ["300", "nobody"],
    }
    found = {g.name: g for g in group_results(table, groups, level=0.05, alone=True)}
    assert found["ring"].log10_p_holm < -30
    assert 20 <= found["ring"].at_least <= 40
    assert 8 <= found["half"].at_least <= 20
    assert found["innocent"].at_least == 0
    assert found["innocent"].log10_p_holm > -2
    assert (found["small"].n_accounts, found["small"].n_unknown) == (1, 1)
    own = table.signs[:40].sum(axis=0)
    assert (found["ring"].wins, found["ring"].losses) == (own[0], own[1])


def test_group_bounds_are_too_high_in_at_most_five_percent():
    """500 campaigns: the bound of the ring or of the innocents is above the truth in 5 %, within 4 deviations."""
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(500):
        table = account_table(simulated(60, 10, 40, 0.7, rng), missing="loss")
        best = np.argsort(table.log10_p)
        groups = {"innocent": [str(i) for i in range(10, 60)], "best": [table.names[i] for i in best[:12]]}
        innocent, chosen = group_results(table, groups, level=0.05, alone=True)
        wrong += innocent.at_least > 0 or chosen.at_least > int((best[:12] < 10).sum())
    assert wrong / 500 < 0.05 + 4 * (0.05 * 0.95 / 500) ** 0.5


def test_both_channels_are_an_e_value_together():
    """Under H0 the mean of the joined e-value is at most 1, also where the mark was read in served text."""
    rng = np.random.default_rng(4)
    wins = rng.binomial(10, 0.5, 20_000)
    twin = {w: float(account_table(Scores.of(pairs({"a": (w, 10 - w, 0, 0)})), missing="loss").log10_e[0])
            for w in range(11)}  # fmt: skip
    lows = rng.choice([np.log10(0.5), np.log10(3.0)], p=[0.8, 0.2], size=20_000)  # mean 1
    for served in (False, True):
        joined = np.array([10 ** Mark(x, served).joined(twin[w]) for x, w in zip(lows, wins, strict=True)])
        assert joined.mean() < 1 + 4 * joined.std() / 20_000**0.5
    assert Mark(2.0, False).joined(3.0) == 5.0
    assert Mark(2.0, True).joined(3.0) == pytest.approx(np.log10((100 + 1000) / 2))
    marked = account_table(Scores.of(pairs({"a": (9, 1, 0, 0)})), missing="loss", marks={"a": Mark(1.0, False)})
    assert marked.log10_e[0] == pytest.approx(marked.log10_e_twin[0] + 1.0)


@pytest.mark.parametrize(
    ("reader", "lines", "message"),
    [
        (read_groups, ['{"account": "a", "group": "g", "x": 1}'], "expected account and group"),
        (read_groups, ['{"account": 1, "group": "g"}'], "expected account and group"),
        (read_groups, ['{"account": "a", "group": "g"}'] * 2, "in this group already"),
        (read_groups, ["[]"], "expected"),
        (read_marks, ['{"key_path": "epoch/e/fleet", "log10_e": 1}'], "epoch/NAME/account/SLOT"),
        (read_marks, ['{"key_path": "epoch/e/account/1", "log10_e": true}'], "log10_e"),
        (read_marks, ['{"key_path": "epoch/e/account/1", "log10_e": 1' + "0" * 400 + "}"], "log10_e"),
        (read_marks, ['{"key_path": "epoch/e/account/1", "log10_e": -1e300}'], "log10_e"),
        (read_marks, ['{"key_path": "epoch/e/account/1", "log10_e": 1}'] * 2, "account '1' is there twice"),
    ],
)
def test_bad_files_are_refused(tmp_path, reader, lines, message):
    path = tmp_path / "file.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(Error, match=message):
        reader(str(path))


def test_marks_are_read_from_findings(tmp_path):
    path = tmp_path / "marks.jsonl"
    rows = [
        {"key_path": "epoch/e/account/1", "log10_e": 2.5, "n_dropped": {"first_h": 1}},
        {"key_path": "epoch/e/account/2", "log10_e": -1, "n_dropped": {"not_served": 1}},
        {"key_path": "epoch/e/account/3", "log10_e": 0.5, "served": True},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_marks(str(path)) == {"1": Mark(2.5, False), "2": Mark(-1.0, True), "3": Mark(0.5, True)}


def test_names_come_strongest_first_and_then_by_their_spelling():
    names = ("b", "a", "weak", "strong", "none")
    signs = np.array([[30, 0, 0], [30, 0, 0], [29, 1, 0], [31, 0, 0], [15, 15, 0]])
    table = table_of(names, signs, alone=True)
    for by in ("holm", "e-bh"):
        assert [names[i] for i in table.named(1e-3, by=by)] == ["strong", "a", "b", "weak"]


def test_one_long_name_among_many_takes_no_memory():
    """An array of texts gives all of them the length of the longest: 25,000 beside a million characters are 93 GiB."""
    names = ("x" * 10**6, *map(str, range(200)))
    table = table_of(names, np.tile([[30, 0, 0]], (201, 1)), alone=True)
    tracemalloc.start()
    try:
        assert len(table.named(1e-3, by="holm")) == 201
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()
