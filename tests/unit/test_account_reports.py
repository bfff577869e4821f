"""The page that says which accounts: every account is in it once, and nobody is named whom the numbers do not name."""

import copy
import re

import pytest

from tests import reporting
from verify.errors import InputError, Refused
from verify.report import render
from verify.report.checks import Check
from verify.report.document import Figure, Table, plotted
from verify.report.source import read_source
from verify.report.view import view
from verify.steps import Step

FOUND = reporting.crowd(200, 20)
RING = [(95, 5, 0), (90, 10, 0)]
REST = [(50, 50, 0), (40, 60, 0), (0, 0, 3), (0, 0, 0)]
SMALL = [*RING, *REST]


@pytest.fixture
def shown(tmp_path):
    """shown(predicate, check) is a view of it."""

    def shown(predicate, check=None):
        return view(read_source(str(reporting.write(predicate, tmp_path / "e.json"))), check)

    return shown


def small(**changed):
    groups = {"ring": [1, 2], "ordinary": [3, 4, 5, 6]}
    return reporting.on_accounts(reporting.accounts(SMALL, groups=groups), **changed)


def blocks(shown, kind, name=""):
    return [b for s in shown.accounts for b in s.blocks if isinstance(b, kind) and name in (s.name, "")]


def text(shown):
    return render(shown, "md").replace("\\", "")


def test_every_account_is_drawn_or_said_not_to_be(shown):
    page = shown(small())
    (figure,) = blocks(page, Figure)
    assert sum(sum(cloud.n) for cloud in figure.plot.clouds) == 4
    assert "2 accounts without an untied pair cannot be drawn" in figure.caption
    assert sum(int(row[-1]) for row in plotted(figure.plot)[1]) == 4
    assert {(c.label, c.filled) for c in figure.plot.clouds} == {
        ("“ring”, named: 2", True), ("“ordinary”, not named: 2", False)
    }  # fmt: skip


@pytest.mark.parametrize("groups", [True, False])
def test_no_point_is_lost_where_many_lie_together(shown, groups):
    page = shown(reporting.on_accounts(reporting.crowd(3_000, 300, groups=groups, spread=30)))
    (figure,) = blocks(page, Figure)
    clouds = figure.plot.clouds
    assert sum(sum(cloud.n) for cloud in clouds) == 3_000
    assert sum(len(cloud.x) for cloud in clouds) < 3_000
    assert all(len(set(zip(c.x, c.y, strict=True))) == len(c.x) for c in clouds)
    assert sum(sum(c.n) for c in clouds if c.filled) == len(page_named(page))


def page_named(page):
    said = re.search(r"([\d,]+) of [\d,]+ accounts (?:is|are) named", text(page))
    return range(int(said[1].replace(",", "")))


def test_the_table_has_those_named_with_their_own_counts(shown):
    (table,) = blocks(shown(small()), Table, "named")
    assert [row[:3] for row in table.rows] == [("alias-1", "ring", "95 of 100"), ("alias-2", "ring", "90 of 100")]
    assert [row[-1] for row in table.rows] == ["yes", "yes"]
    assert table.rows[0][3].startswith("0.950 (0.888 to 0.978)")  # Wilson's, by R's prop.test(95, 100, correct = FALSE)


def test_the_others_stand_beside_them(shown):
    (table,) = blocks(shown(small()), Table, "control")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["named"][:3] == ("2", "2", "185 of 200")
    assert rows["not named"][:3] == ("4", "0", "90 of 200")
    assert rows["ring"] == rows["named"]
    assert rows["ordinary"] == rows["not named"]
    assert rows["not named"][-1] == "0 (0.0 %)"


def test_at_least_so_many(shown):
    (table,) = blocks(shown(small()), Table, "groups")
    assert [row[:2] for row in table.rows] == [("ring", "2 of 2"), ("ordinary", "0 of 4")]
    assert not blocks(shown(reporting.on_accounts(reporting.accounts(SMALL))), Table, "groups")


def test_nobody_named_has_no_list_of_names(shown):
    page = shown(reporting.on_accounts(reporting.accounts(REST)))
    assert "alias-" not in text(page)
    assert "Not found: of 4 accounts none is named at the threshold of 1 in 1,000." in text(page)


def test_a_file_that_was_not_accepted_names_nobody(shown):
    refused = Check((("measured", Step("the counts follow", "failed", "other counts")),), accepted=False)
    page = shown(small(), refused)
    assert "alias-" not in "".join(map(str, (*page.first, *page.accounts)))
    assert "was not accepted: no account is named here" in text(page)


def test_an_account_in_two_groups_is_drawn_once(shown):
    measured = reporting.accounts(SMALL, groups={"paid": [1, 2, 3], "late": [1, 4]})
    (figure,) = blocks(shown(reporting.on_accounts(measured)), Figure)
    assert sum(sum(cloud.n) for cloud in figure.plot.clouds) == 4
    assert {cloud.label for cloud in figure.plot.clouds} == {
        "“paid”, named: 2", "“paid”, not named: 1", "“late”, not named: 1"
    }  # fmt: skip


def test_more_groups_than_signs_are_drawn_as_named_and_not(shown):
    groups = {f"g{i}": [i] for i in range(1, 7)}
    (figure,) = blocks(shown(reporting.on_accounts(reporting.accounts(SMALL, groups=groups))), Figure)
    assert {cloud.label for cloud in figure.plot.clouds} == {"named: 2", "not named: 2"}


def test_a_hostile_name_of_a_group_steers_nothing(shown):
    name = "<script>alert(1)</script>\u202e\x1b[2J“ is guilty ”"
    page = shown(reporting.on_accounts(reporting.accounts(SMALL, groups={name: [1, 2]})))
    html = render(page, "html")
    assert "<script" not in html
    assert "\u202e" not in html
    assert "\x1b" not in html


def lie(change):
    predicate = copy.deepcopy(small())
    change(predicate["results"][0]["derived"])
    return predicate


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda d: d.update(named=[1, 2, 3]), Refused, "named says otherwise of alias-3"),
        (lambda d: d.update(named=[1]), Refused, "named says otherwise of alias-2"),
        (lambda d: d.update(named_fdr=[1, 2, 4]), Refused, "named_fdr says otherwise of alias-4"),
        (lambda d: d.update(log10_p=-40.0), Refused, "the smallest of the accounts' is another"),
        (lambda d: d["accounts"]["log10_p"].pop(), InputError, "expected four numbers of each of 6"),
        (lambda d: d["groups"].reverse(), InputError, "groups, expected those that were measured"),
        (lambda d: d.update(named=[1, 2, 7]), InputError, "expected numbers of at most 6"),
        (lambda d: d.pop("named"), InputError, "lacks named"),
        (lambda d: d.update(accounts=[]), InputError, "expected four numbers"),
    ],
)
def test_a_file_that_contradicts_itself_gets_no_report(shown, change, error, says):
    with pytest.raises(error, match=re.escape(says)):
        shown(lie(change))


def test_the_numbers_of_a_large_test_are_few_on_the_page(shown):
    page = shown(reporting.on_accounts(FOUND))
    (figure,) = blocks(page, Figure)
    assert len(plotted(figure.plot)[1]) < 40
    (table,) = blocks(page, Table, "named")
    named = reporting.on_accounts(FOUND)["results"][0]["derived"]["named"]
    listed = [int(row[0].removeprefix("alias-")) for row in table.rows]
    assert set(listed) >= set(named)
    assert set(named) <= set(range(1, 21))
