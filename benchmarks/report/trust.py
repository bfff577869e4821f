"""Can it be trusted: how often an innocent text, or model, is called marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.report.blocks import Block, Part, Results, missing, number, percent, table
from benchmarks.report.charts import Chart, Series
from verify.report.document import Text


def part(results: Results) -> Part:
    """The first question."""
    blocks = (*_closed(results), *_tests(results), *_students(results), *_accounts(results))
    return Part("trust", "Can it be trusted?", blocks)


def _curve(label: str, levels: list[dict[str, Any]]) -> Series:
    shown = [level for level in levels if level["count"]]
    x, y, low, high = (tuple(level[name] for level in shown) for name in ("nominal", "share", "low", "high"))
    return Series(label, x, y, low, high)


def _qq(name: str, title: str, series: list[Series], result: str) -> Chart:
    return Chart(
        name=name,
        title=title,
        caption="The share of p-values at or below each level, under random keys on real text that no key marked. On "
        "the dashed line the rate is what it says; below it the test is careful; above it it would accuse too often. "
        "Shaded: 95 % intervals (Clopper and Pearson). Levels at which nothing was seen have no point.",
        x_label="nominal false-alarm rate",
        y_label="observed rate",
        series=tuple(s for s in series if s.x),
        x_scale="log",
        y_scale="log",
        diagonal=True,
        results=(result,),
    )


def _closed(results: Results) -> Iterator[Block]:
    found = results.get("calibration")
    if found is None:
        yield missing("calibration")
        return
    if "rows" not in found.numbers:  # the command of that name, without the suite
        yield from _before(found.numbers)
        yield missing("calibration")
        return
    rows, pooled = found.numbers["rows"], found.numbers["pooled"]
    held = sum(all(level["holds"] for level in row["levels"]) for row in rows)
    trials = sum(row["trials"] for row in rows)
    yield Text(
        f"{number(trials)} tests of innocent text, {number(len(rows))} configurations: {number(held)} hold at every "
        "level. A rate fails if so many false alarms would be seen less than once in a million times were it exact."
    )
    yield _qq("qq-pooled", "Closed test: schemes of Radiolabel, and engines' own marks",
              [_curve(_short(p["group"]), p["levels"]) for p in pooled], "calibration")  # fmt: skip
    for scheme in dict.fromkeys(row["mark"] for row in rows if row["channel"] != "native"):
        own = [row for row in rows if row["mark"] == scheme and (row["width"], row["channel"]) == (2, "fleet")]
        title = f"{_short(scheme)} by kind of text"
        yield _qq(f"qq-{_short(scheme)}", title, [_curve(row["kind"], row["levels"]) for row in own], "calibration")
    columns = ("mark", "width", "channel", "text", "trials", "seed", "rate at 1 %", "deepest level seen", "holds")
    yield table("Every configuration", columns, map(_row, rows))
    before = results.own("calibration")
    if before is not None:
        yield from _before(before.numbers)


def _before(numbers: dict[str, Any]) -> Iterator[Block]:
    runs = numbers["runs"].values()
    held = sum(all(level["holds"] for level in run["levels"].values()) for run in runs)
    yield Text(
        f"The longer run of python -m benchmarks.calibration, on prose and texts made from it, has "
        f"{number(sum(run['trials'] for run in runs))} tests in {number(len(runs))} configurations down to 1e-5: "
        f"{number(held)} hold at every level."
    )


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    levels = row["levels"]
    at = next((level for level in levels if abs(level["nominal"] - 0.01) < 1e-9), levels[-1])
    seen = [level for level in levels if level["count"]]
    deepest = f"{number(seen[-1]['count'])} of {number(seen[-1]['n'])} at {seen[-1]['nominal']:.2g}" if seen else "none"
    held = all(level["holds"] for level in levels)
    return (_short(row["mark"]), number(row["width"]), row["channel"], row["kind"], number(row["trials"]),
            str(row["seed"]), percent(at), deepest, "yes" if held else "NO")  # fmt: skip


def _tests(results: Results) -> Iterator[Block]:
    found = results.get("calibration-tests")
    if found is None:
        yield missing("calibration-tests")
        return
    rows = found.numbers["rows"]
    shown = [row for row in rows if row["scheme"] in ("gumbel", "none")]
    yield _qq("qq-tests", "Other tests, under gumbel or under coins",
              [_curve(row["test"], row["levels"]) for row in shown], "calibration-tests")  # fmt: skip
    columns = ("test", "scheme", "trials", "seed", "rate at 1 %", "holds")
    yield table(
        "Every test",
        columns,
        ((r["test"], r["scheme"], number(r["trials"]), str(r["seed"]), *_row({**r, "mark": "", "width": None,
          "channel": "", "kind": ""})[6::2]) for r in rows),
    )  # fmt: skip


def _students(results: Results) -> Iterator[Block]:
    found = results.get("distillation")
    if found is None:
        yield missing("distillation")
        return
    innocents = found.numbers["innocents"]
    yield Text(
        f"Where one trial is a whole model, the lab trained {number(innocents['students'])} innocents and tested them "
        f"under {number(innocents['keys'])} true keys. Innocents that share windows or a key are not independent: the "
        "intervals count the effective number."
    )
    rows = ((r["test"], number(r["level"]), f"{number(r['rejected'])} of {number(r['n'])}", number(r["effective"]),
             f"{100 * r['low']:.2g} to {100 * r['high']:.2g} %") for r in innocents["rows"])  # fmt: skip
    yield table("Innocent models called guilty", ("test", "level", "called", "effective n", "95 % interval"), rows)


def _accounts(results: Results) -> Iterator[Block]:
    found = results.get("trace")
    if found is None:
        yield missing("trace")
        return
    rows = []
    for name, deployment in found.numbers.items():
        if isinstance(deployment, dict) and "innocents" in deployment:
            for kind, r in deployment["innocents"].items():
                rows.append((name, kind, number(r["documents"]), number(r["tests"]), number(r["names_in_the_family"]),
                             number(r["documents_named_each_by_itself"]),
                             f"{100 * r['interval'][0]:.2g} to {100 * r['interval'][1]:.2g} %"))  # fmt: skip
    columns = ("deployment", "text", "documents", "tests", "accounts named", "documents named, each by itself",
               "95 % interval")  # fmt: skip
    yield table("Accounts named in documents that are nobody's, at 0.1 % after correction", columns, rows)


def _short(mark: str) -> str:
    return mark.partition(":")[0]
