"""How does it compare: the faults of other packages on the same null text, and their detectors' speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.report.blocks import Block, Part, Results, missing, number, percent, ranged, spanned, table
from benchmarks.report.charts import Chart, Series
from verify.report.document import Notice, Text


def part(results: Results) -> Part:
    """The fifth question."""
    return Part("compares", "How does it compare?", (*_faults(results), *_speeds(results)))


def _speeds(results: Results) -> Iterator[Block]:
    found = results.get("native-speed")
    if found is None:
        yield missing("native-speed")
        return
    rows = []
    for mark, record in found.numbers["marks"].items():
        peer = record.get("peer ids/s")
        for key, rate in record.items():
            if key.endswith(" ids/s") and key != "peer ids/s":
                who = key.removesuffix(" ids/s")
                times = record.get(f"{who}, times peer")
                rows.append((mark, who, spanned(rate), spanned(peer) if peer else "not run",
                             spanned(times) if times else "not run"))  # fmt: skip
    columns = ("engine's mark", "ours", "ours, ids/s", "the engine's detector, ids/s", "times")
    yield table("Ids to a p-value on one core, same ids: median (smallest to largest)", columns, rows)


def _faults(results: Results) -> Iterator[Block]:
    found = results.get("peers")
    if found is None:
        yield missing("peers")
        return
    rows = found.numbers["rows"]
    by = {name: [r for r in rows if r["fault"] == name] for name in dict.fromkeys(r["fault"] for r in rows)}
    yield Text(
        "Faults that packages shipped, reproduced with the packages as installed (their versions stand at the end), on "
        "text that no key marked. Detection rates of their marks beside ours are under “Does it work?”."
    )
    yield from _table_fault(by.get("synthid-table", []))
    yield from _tails(by.get("kgw-tail", []))
    yield from _null(by.get("kgw-null", []))
    yield from _constructions(by.get("constructions", []))
    yield from _generator(by.get("generator", []))
    yield from _dual(by.get("vllm-dual", []))


def _sd(label: str, rows: list[dict[str, Any]], which: str) -> Series:
    y, low, high = (tuple(r[which][name] for r in rows) for name in ("sd", "low", "high"))
    return Series(label, tuple(r["tokens"] for r in rows), y, low, high)


def _table_fault(rows: list[dict[str, Any]]) -> Iterator[Block]:
    if not rows:
        return
    yield table(
        "Mean z on null text over random keys: 0 if the law is right",
        ("distinct n-grams", "keys", "SynthID in transformers, default table (95 % interval)", "radiolabel tournament"),
        ((number(r["tokens"]), number(r["theirs"]["keys"]), ranged(r["mean_z"]["default table"], "mean"),
          ranged(r["mean_z"]["ours"], "mean")) for r in rows),
    )  # fmt: skip
    yield Chart(
        name="synthid", title="Spread of z on null text, random keys and tables",
        caption="Standard deviation of z, 1 if the law is right. transformers' SynthID takes its bits from a table of "
        "65,536, whose share of ones is not one half. Shaded: 95 % intervals (chi-square).",
        x_label="distinct n-grams", y_label="standard deviation of z", x_scale="log", level=1.0,
        series=(_sd("SynthID in transformers", rows, "theirs"), _sd("radiolabel tournament", rows, "ours")),
        results=("peers",),
    )  # fmt: skip


def _tails(rows: list[dict[str, Any]]) -> Iterator[Block]:
    if not rows:
        return
    yield table(
        f"P-values of transformers' WatermarkDetector for a count of green tokens among {number(rows[0]['n'])}",
        ("z", "log10 p, theirs", "log10 p, exact binomial", "theirs is too small by a factor of"),
        (
            (number(r["z"]), _theirs(r), number(r["log10_exact"], 4), number(r["times_too_small"]))
            for r in rows[0]["rows"]
        ),
    )  # fmt: skip


def _theirs(row: dict[str, Any]) -> str:
    return "p = 0" if row["log10_theirs"] is None else number(row["log10_theirs"], 4)


def _null(rows: list[dict[str, Any]]) -> Iterator[Block]:
    if rows:
        yield table(
            "Null text called marked at a nominal 1 %, random keys, green lists",
            ("text", "tokens", "who", "called marked (95 % interval)"),
            ((r["kind"], number(r["tokens"]), who, percent(share)) for r in rows for who, share in r["called"].items()),
        )


def _constructions(rows: list[dict[str, Any]]) -> Iterator[Block]:
    if rows:
        names = [*rows[0]["constructions"]]
        yield Chart(
            name="constructions", title="Spread of z when a PRF's input is badly made",
            caption="No package: inputs that packages have used, under an ideal function, on the same null text. 1 is "
            "right. Shaded: 95 % intervals (chi-square).",
            x_label="distinct n-grams", y_label="standard deviation of z", x_scale="log", level=1.0,
            series=(*(_sd(name, [{**r, **r["constructions"]} for r in rows], name) for name in names),
                    _sd("radiolabel gumbel", rows, "ours")),
            results=("peers",),
        )  # fmt: skip


def _generator(rows: list[dict[str, Any]]) -> Iterator[Block]:
    if rows:
        r = rows[0]
        yield Text(
            f"torch.Generator on the CPU: of {number(r['seeds'])} pairs of seeds that differ in one of the upper bits, "
            f"{number(r['theirs']['count'])} give the same stream; of as many pairs of our keys, "
            f"{number(r['ours']['count'])} give the same word."
        )


def _dual(rows: list[dict[str, Any]]) -> Iterator[Block]:
    if not rows:
        return
    if "not_run" in rows[0]:
        yield Notice(f"vLLM's detectors: not run: {rows[0]['not_run']}")
        return
    yield table(
        "P-values of vLLM's detectors beside the exact tail of the same sum",
        ("mark", "n", "sum of scores", "log10 p, theirs", "log10 p, exact", "theirs is too small by a factor of"),
        ((r["mark"], number(r["n"]), number(r["score"], 5), _theirs(r), number(r["log10_exact"], 4),
          number(r["times_too_small"])) for r in rows[0]["rows"]),
    )  # fmt: skip
