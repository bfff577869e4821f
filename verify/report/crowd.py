"""Every account of a test as a point: how often its served answers won, and how strong that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import log10
from typing import Final

from verify.measured import MeasuredAccounts
from verify.report.document import Cloud, Figure, Points
from verify.report.fields import AccountColumns
from verify.report.source import Outcome, Source
from verify.report.words import SHORT, called, counted

KINDS: Final = 4  # groups with a sign of their own
COLUMNS: Final = 250  # places along x in which points are one; a picture shows no more
ROWS: Final = 120
NONE: Final = KINDS  # the style of those that belong to no group


def crowd(source: Source, result: Outcome) -> Figure | None:
    """The picture, if the test was of accounts that have untied pairs."""
    measured, columns = result.measured, result.derived.accounts
    if not isinstance(measured, MeasuredAccounts) or not isinstance(columns, AccountColumns):
        return None
    shares = [wins / (wins + losses) if wins + losses else None for wins, losses, _ in measured.accounts]
    tallest = -min(columns.log10_p) or 1.0
    places = [
        None if share is None else (round(share * COLUMNS) / COLUMNS, round(p / tallest * ROWS) / ROWS * tallest)
        for share, p in zip(shares, columns.log10_p, strict=True)
    ]
    clouds = tuple(_clouds(measured, places, set(result.derived.named or ())))
    if not clouds:
        return None
    m, named, without = len(shares), len(result.derived.named or ()), shares.count(None)
    threshold = log10(source.plan.level / m)
    inside = (
        " Filled: named. An account that stands in several groups is drawn in the first." if measured.groups else ""
    )
    left = f" {counted(without, 'account')} without an untied pair cannot be drawn." if without else ""
    return Figure(
        name="crowd",
        title="Every account",
        caption=f"Each point is an account; those that would cover each other are drawn once. To the right: its served "
        f"answers won more often. Higher: the smaller is p of its own test, before any correction. Above the broken "
        f"line an account is named whatever the others give; below it some may be, once stronger ones are.{inside}"
        f"{left}",
        alternative=f"{counted(m, 'account')}, {named:,} of them named. "
        + "; ".join(f"{c.label}: {_range(c)}" for c in clouds)
        + ".",
        x_label="share of untied pairs in which the served answer won",
        y_label="log10 p of the account's own test (no unit)",
        plot=Points(
            ("share of wins", "one half: no dependence", "named for certain"), clouds, 0.5, round(threshold, 6)
        ),
    )


def _clouds(
    measured: MeasuredAccounts, places: Sequence[tuple[float, float] | None], named: set[int]
) -> Iterator[Cloud]:
    """The points by group, those that are not named first, so that the others lie on top."""
    group: dict[int, int] = {}
    grouped = 0 < len(measured.groups) <= KINDS
    for index, members in enumerate(measured.groups if grouped else ()):
        for number in members.accounts:
            group.setdefault(number, index)
    kinds: dict[tuple[bool, int], Counter[tuple[float, float]]] = {}
    for number, place in enumerate(places, 1):
        if place is not None:
            of = group.get(number, NONE) if grouped else (0 if number in named else NONE)
            kinds.setdefault((number in named, of), Counter())[place] += 1
    for filled, of in sorted(kinds):
        points = sorted(kinds[filled, of].items())
        who = f"{_group(measured, of)}, " if grouped else ""
        total = sum(n for _, n in points)
        label = f"{who}{'named' if filled else 'not named'}: {total:,}"
        x, y = tuple(p[0] for p, _ in points), tuple(round(p[1], 4) for p, _ in points)
        yield Cloud(label, of, filled, x, y, tuple(n for _, n in points))


def _group(measured: MeasuredAccounts, index: int) -> str:
    return "no group" if index == NONE else called(measured.groups[index].group, SHORT)


def _range(cloud: Cloud) -> str:
    return f"shares of wins from {min(cloud.x):.2f} to {max(cloud.x):.2f}"
