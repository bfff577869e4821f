"""Does it work: how much marked text, or how many answers of a student, it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.report.blocks import Block, Part, Results, missing, number, percent, ranged, table
from benchmarks.report.charts import Chart, Series
from verify.report.document import Text


def part(results: Results) -> Part:
    """The second question."""
    return Part("works", "Does it work?", (*_power(results), *_students(results), *_traced(results)))


def _power(results: Results) -> Iterator[Block]:
    found = results.get("power")
    if found is None:
        yield missing("power")
        return
    rows = found.numbers["rows"]
    hot = [row for row in rows if row["temperature"] == 1.0]
    cool = [row for row in rows if row["mark"] == "gumbel"]
    yield Text(
        f"Answers of {found.numbers['model']} to the demo's prompts, the 100 likeliest tokens, cut into documents that "
        "do not overlap. A document is detected at a rate of false alarms if its log10 p says so: nothing is fitted. "
        "The green list distorts the model's law; the others do not."
    )
    for rate in ("1e-3", "1e-6"):
        yield Chart(
            name=f"tpr-{rate}", title=f"Documents detected at a false-alarm rate of {rate}, temperature 1",
            caption="Share of documents, with its 95 % interval (Clopper and Pearson).",
            x_label="tokens of a document", y_label="share detected", x_scale="log",
            series=tuple(_detected(_name(r), r, rate) for r in hot), results=("power",),
        )  # fmt: skip
    yield Chart(
        name="evidence", title="Evidence against length, temperature 1",
        caption="Median log10 p of documents, shaded from quartile to quartile.",
        x_label="tokens of a document", y_label="log10 p", x_scale="log",
        series=tuple(_evidence(_name(r), r) for r in hot), results=("power",),
    )  # fmt: skip
    if len(cool) > 1:
        yield Chart(
            name="temperature", title="Evidence by temperature, gumbel",
            caption="Median log10 p of documents, shaded from quartile to quartile. Less is drawn at random from a "
            "cooler model, and a mark lives on what is.",
            x_label="tokens of a document", y_label="log10 p", x_scale="log",
            series=tuple(_evidence(f"temperature {number(r['temperature'])}", r) for r in cool), results=("power",),
        )  # fmt: skip
    yield Chart(
        name="entropy", title="Strength of the mark by the model's uncertainty, temperature 1",
        caption="Mean score of a token above its mean without a mark, in standard deviations of that law, by the "
        "entropy of the law that it was drawn from: each point stands at the lower end of its range. Shaded: 95 % "
        "intervals (bootstrap).",
        x_label="entropy (nats), from", y_label="excess (standard deviations)",
        series=tuple(_by_entropy(r) for r in hot if "by_entropy" in r), results=("power",),
    )  # fmt: skip
    lengths = (100, 200, 500)
    columns = ("mark", "temperature", "width", "tokens sampled", "entropy (nats)",
               *(f"found at 1e-6, {n} tokens" for n in lengths))  # fmt: skip
    yield table("Every mark and temperature", columns, (_row(r, lengths) for r in rows))


def _row(row: dict[str, Any], lengths: tuple[int, ...]) -> tuple[str, ...]:
    by = {r["tokens"]: r for r in row["by_length"]}
    cells = (percent(by[n]["detected"]["1e-6"]) if n in by else "none" for n in lengths)
    return (row["mark"], number(row["temperature"]), number(row["width"]), number(row["tokens"]),
            ranged(row["entropy"], "mean"), *cells)  # fmt: skip


def _name(row: dict[str, Any]) -> str:
    return f"{row['mark']}, width {row['width']}" if row["width"] != 2 else str(row["mark"])


def _detected(label: str, row: dict[str, Any], rate: str) -> Series:
    shares = [r["detected"][rate] for r in row["by_length"]]
    y, low, high = (tuple(s[name] for s in shares) for name in ("share", "low", "high"))
    return Series(label, tuple(r["tokens"] for r in row["by_length"]), y, low, high)


def _evidence(label: str, row: dict[str, Any]) -> Series:
    values = [r["log10_p"] for r in row["by_length"]]
    y, low, high = (tuple(v[name] for v in values) for name in ("median", "low", "high"))
    return Series(label, tuple(r["tokens"] for r in row["by_length"]), y, low, high)


def _by_entropy(row: dict[str, Any]) -> Series:
    bins = row["by_entropy"]
    x, y, low, high = (tuple(b[name] for b in bins) for name in ("from", "mean", "low", "high"))
    return Series(row["mark"], x, y, low, high)


def _students(results: Results) -> Iterator[Block]:
    found = results.get("distillation")
    if found is None:
        yield missing("distillation")
        return
    rows = [r for r in found.numbers["students"] if r["rule"] == "root"]
    yield Text(
        "Students are the same small model fine-tuned on served answers among others (docs/lab.md has all tests). "
        "The open test reads their next-token probabilities against their base. On served text the e-value decides, "
        "on public text the p-value."
    )
    columns = ("student", "share of served answers", "test", "windows", "z", "log10 e")
    yield table(
        f"Open test of students, rule root, seed {found.numbers['seed']}", columns,
        ((r["student"], f"{100 * r['share']:g} %", r["test"], number(r["windows"]), number(r["z"]),
          number(r["log10_e"])) for r in rows),
    )  # fmt: skip


def _traced(results: Results) -> Iterator[Block]:
    found = results.get("trace")
    if found is None:
        return
    series = []
    for name, deployment in found.numbers.items():
        if isinstance(deployment, dict) and "traced" in deployment:
            rows = deployment["traced"]["by_length"]
            low, high = (tuple(r["interval"][i] for r in rows.values()) for i in (0, 1))
            y = tuple(r["share"] for r in rows.values())
            series.append(Series(f"{name}: {deployment['traced']['shares']}", tuple(map(int, rows)), y, low, high))
    if series:
        yield Chart(
            name="traced", title="Documents traced to the right one of 25,000 accounts",
            caption="At a family-wise level of 0.1 % over documents times accounts (Holm). Shaded: 95 % intervals "
            "(Clopper and Pearson).",
            x_label="tokens of a document", y_label="share traced", x_scale="log", series=tuple(series),
            results=("trace",),
        )  # fmt: skip
