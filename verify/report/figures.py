"""What is drawn, as numbers: how the score grew, where the true key stands among decoys, and how large the effect is.

Symbols: n pairs scored so far, S their scores in natural units, mu and v mean and variance of one score under H0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import log10, sqrt
from typing import Final

from verify.errors import InputError
from verify.hypotheses import closed
from verify.hypotheses.twin import Signs
from verify.measured import MeasuredClosed, MeasuredForm, MeasuredSequential, MeasuredTwin
from verify.report.document import Bars, Curve, Figure, Intervals, Plot, Shares
from verify.report.fields import AccountColumns
from verify.report.others import no_control
from verify.report.source import Outcome, Source
from verify.report.words import called, counted, number, plain
from watermark.schemes import parse

POINTS: Final = 24  # of a curve: as many rows as its table
ACCOUNTS: Final = 20
EDGES: Final = tuple(-6 + i / 4 for i in range(49))  # docs/spec/evidence.md, section 4.1


def growth(source: Source, result: Outcome) -> Figure | None:
    """The number that decides, after more and more of the data."""
    measured, law = result.measured, parse(source.plan.scheme).law

    def log10_e(n: int, total: int) -> float:
        return closed.log10_e(law, n, total)

    def log10_p(n: int, total: int) -> float:
        return float(closed.log10_p(law, n, total))

    if isinstance(measured, MeasuredClosed):
        served = "not_served" in measured.n_dropped
        rows = [(tokens, n, int(total)) for tokens, n, total in measured.accumulation]
        return _curve(source, result, "token", rows, log10_e if served else log10_p, e_value=served)
    if isinstance(measured, MeasuredSequential):
        rows = [(answers, n, int(total)) for answers, n, total in measured.accumulation]
        return _curve(source, result, "answer", rows, log10_e, e_value=True)
    if isinstance(measured, MeasuredTwin):
        signs = (lambda w, lo: Signs(w, lo, 0).log10_p) if measured.alone else (lambda w, lo: Signs(w, lo, 0).log10_e)
        return _curve(source, result, "pair", measured.accumulation, signs, e_value=not measured.alone)
    return None


def _curve(
    source: Source,
    result: Outcome,
    unit: str,
    rows: Sequence[tuple[int, int, int]],
    at: Callable[[int, int], float],
    *,
    e_value: bool,
) -> Figure | None:
    what, path = "log10 e" if e_value else "log10 p", result.path
    threshold = log10(source.plan.alpha) * (-1 if e_value else 1)
    rows = [row for row in rows if row[1] or row[2]]
    if not rows:
        return None
    chosen = [rows[round(i * (len(rows) - 1) / (POINTS - 1))] for i in range(POINTS)] if len(rows) > POINTS else rows
    try:
        x, y = tuple(row[0] for row in chosen), tuple(round(at(n, s), 6) for _, n, s in chosen)
    except (ValueError, OverflowError) as error:
        raise InputError(f"accumulation of {called(path)}: {error}, expected sums that can be") from None
    looked = (
        "It may be looked at after every one, as often as one likes."
        if e_value
        else "Only its last point is the result; the points before it were not tests."
    )
    reached = y[-1] >= threshold if e_value else y[-1] <= threshold
    side = "at or beyond" if reached else "short of"
    return Figure(
        name="growth",
        title=f"Growth of the evidence, key {called(path)}",
        caption=f"{what} after more and more {unit}s, in the order of the file, with the plan's threshold. {looked}",
        alternative=f"A line of {len(x)} points. After {counted(x[-1], unit)} {what} is {y[-1]:.4g}, {side} the "
        f"threshold of {threshold:.4g}.",
        x_label=f"{unit}s read" if unit == "token" else f"{unit}s",
        y_label=f"{what} (no unit)",
        plot=Curve((f"{unit}s", what, "threshold"), x, y, threshold, e_value),
    )


def decoys(source: Source, result: Outcome) -> Figure | None:
    """The true key among keys that were never used."""
    measured, law = result.measured, parse(source.plan.scheme).law
    if not isinstance(measured, MeasuredClosed) or measured.decoys is None or not measured.n_scored:
        return None
    n, found = measured.n_scored, measured.decoys
    mark = (int(measured.total) / law.unit - n * law.mean) / sqrt(n * law.variance)
    return Figure(
        name="decoys",
        title=f"The true key among decoys, key {called(result.path)}",
        caption=f"How {counted(found.n, 'key')} that were drawn by the same procedure and never used score on the "
        f"same text. The line is the true key, in place {found.rank:,} of {found.n + 1:,}; ties count against it.",
        alternative=f"A histogram of {counted(sum(found.histogram), 'decoy')} by standard score. The true key stands "
        f"at {mark:.4g}, in place {found.rank:,} of {found.n + 1:,}.",
        x_label="standard score z (standard deviations)",
        y_label="decoy keys (count)",
        plot=Bars(("from z", "to z", "decoy keys"), EDGES, found.histogram, round(mark, 6)),
    )


def effects(source: Source) -> Figure | None:
    """The effect of every key with its interval, beside where it would be without a mark."""
    results = source.outcomes[:ACCOUNTS]
    twin = source.plan.hypothesis == "twin"
    d = [result.derived for result in results]
    values = [x.win_rate if twin else x.excess for x in d]
    labels = [called(result.path) for result in results]
    lows, highs = [x.win_low if twin else x.excess_low for x in d], [x.win_high if twin else x.excess_high for x in d]
    what = (
        "share of served answers that scored higher" if twin else f"mean score above expectation, per {_per(results)}"
    )
    unit = "share of wins" if twin else "excess (natural unit of the scheme)"
    return _intervals(
        "effect",
        "Size of the effect",
        f"The {what}, with its 95 % interval where the file states one. The line is where a model without the mark "
        f"lies on average.",
        unit,
        list(zip(labels, values, lows, highs, strict=True)),
        (0.5, "one half") if twin else (0.0, "no effect"),
    )


def _per(results: Iterable[Outcome]) -> str:
    return "window" if any(isinstance(result.measured, MeasuredForm) for result in results) else "pair"


def others(source: Source) -> Figure | None:
    """The suspect beside other models under the same keys, by the number that was compared with the threshold."""
    if not source.predicate.others:
        return None
    name, shown = source.plan.suspect.name, source.predicate.others[:ACCOUNTS]
    rows = [(f"{called(name)}, this file", min(t.log10_adjusted for t in source.predicate.decision.tests), None, None)]
    for other in shown:
        if other.tests:
            kind = "innocent" if other.control and not no_control(source, other) else "other"
            label = f"{called(other.suspect)}, {kind}"
            rows.append((label, min(test.log10_adjusted for test in other.tests), None, None))
    return _intervals(
        "others",
        "Beside other models under the same key",
        "The corrected log10 p of each file's strongest test. The line is this plan's threshold; other files may have "
        "thresholds of their own.",
        "corrected log10 p (no unit)",
        rows,
        (log10(source.plan.alpha), "threshold"),
    )


def rate(source: Source) -> Figure | None:
    """The rate of accusations, as the file states it."""
    stated = source.predicate.rate
    if stated is None:
        return None
    measured = stated.n_accused / stated.n_trials if stated.n_trials else 0.0
    return _intervals(
        "rate",
        "Rate of false accusations, as the maker states it",
        f"{stated.n_accused:,} of {counted(stated.n_trials, 'trial')} with innocent models, with the 95 % interval. "
        f"The line is the level at which they were tested.",
        "share of innocent models called found",
        [("as stated", measured, stated.low, stated.high)],
        (stated.alpha, "level"),
    )


def accounts(result: Outcome) -> Figure | None:
    """Wins by account, those with the smallest p first."""
    measured, derived = result.measured, result.derived
    if not isinstance(measured, MeasuredTwin) or not measured.accounts or isinstance(derived.accounts, AccountColumns):
        return None
    numbers = derived.accounts
    order = sorted(range(len(measured.accounts)), key=lambda i: (numbers[i].log10_p, i))[:ACCOUNTS]
    shown = [measured.accounts[i] for i in order]
    whole = (
        f"The {len(shown)} of {len(measured.accounts):,} accounts" if len(measured.accounts) > ACCOUNTS else "Accounts"
    )
    first = shown[0]
    return Figure(
        name="accounts",
        title="Wins by account",
        caption=f"{whole} with the smallest p first: pairs in which the suspect scored the served answer above its "
        f"twin, below it, or the same. Without dependence on what was served, wins and losses are equally frequent.",
        alternative=f"Bars of {counted(len(shown), 'account')}. The first, {called(first.account)}, has "
        f"wins {first.wins:,} and losses {first.losses:,}.",
        x_label="pairs (count)",
        y_label="account",
        plot=Shares(
            tuple(plain(a.account) for a in shown),
            tuple(a.wins for a in shown),
            tuple(a.losses for a in shown),
            tuple(a.ties for a in shown),
        ),
    )


def _intervals(
    name: str,
    title: str,
    caption: str,
    unit: str,
    rows: Sequence[tuple[str, float | None, float | None, float | None]],
    reference: tuple[float, str],
) -> Figure | None:
    stated = [(label, value, low, high) for label, value, low, high in rows if value is not None]
    if not stated:
        return None
    labels, values, lows, highs = (tuple(column) for column in zip(*stated, strict=True))
    plot: Plot = Intervals(("", unit, "low", "high"), labels, values, lows, highs, *reference)
    first = f"{labels[0]} at {number(values[0])}"
    return Figure(
        name=name,
        title=title,
        caption=caption,
        alternative=f"{counted(len(stated), 'value')} beside a line at {reference[0]:.4g} ({reference[1]}): {first}"
        + (f", interval {number(lows[0])} to {number(highs[0])}." if lows[0] is not None else "."),
        x_label=unit,
        y_label="",
        plot=plot,
    )
