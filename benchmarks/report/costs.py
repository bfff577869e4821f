"""What does it cost: speed, memory, and what the mark does to the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from benchmarks.report.blocks import Block, Part, Results, leaves, missing, number, ranged, spanned, table
from benchmarks.report.charts import Chart, Series
from verify.report.document import Table, Text

MOST: Final = 80  # rows of a table of a result that is shown as it is
AS_IT_IS: Final = {
    "ledger-speed": "The served log",
    "open-speed": "The open test",
    "evidence-speed": "Making and checking evidence",
    "accounts-speed": "Accounts of a student's answers",
}


def part(results: Results) -> Part:
    """The third question."""
    blocks: list[Block] = [
        *_throughput(results),
        *_verdict(results),
        *_serving(results),
        *_draws(results),
        *_growth(results),
        *_quality(results),
    ]
    blocks += [block for name, title in AS_IT_IS.items() for block in as_it_is(results, name, title)]
    return Part("costs", "What does it cost?", tuple(blocks))


def _throughput(results: Results) -> Iterator[Block]:
    found = results.get("throughput")
    if found is None:
        yield missing("throughput")
        return
    rows = []
    for what, record in found.numbers.items():
        if not isinstance(record, dict) or "unit" not in record:
            continue
        for name, values in record.items():
            if isinstance(values, dict) and "rate" in values:
                ratio = next(v for key, v in values.items() if key.endswith("faster by"))
                rows.append((what, name, f"{spanned(values['rate'])} {record['unit']}",
                             "1" if ratio["min"] == ratio["max"] == 1 else spanned(ratio)))  # fmt: skip
    columns = ("what", "who", "median (smallest to largest)", "radiolabel is faster by")
    yield table("Rates of one core, turns taken in one run", columns, rows)


def _verdict(results: Results) -> Iterator[Block]:
    found = results.get("text-to-verdict")
    if found is None:
        yield missing("text-to-verdict")
        return
    n = found.numbers
    rows = [
        ("text", f"{number(n['characters'])} characters, {number(n['tokens'])} tokens"),
        ("threads of the tokenizer", number(n["threads"])),
        ("tokens a second, all in", ranged(n["tokens_per_second"])),
        ("the tokenizer's share of the time", ranged(n["tokenizer_share"])),
        ("the tokenizer's share of the processors' time", ranged(n["tokenizer_share_of_cpu"])),
    ]
    yield table(f"From text to a verdict, {number(n['repeats'])} repeats", ("what", "median (95 % interval or range)"),
                rows)  # fmt: skip


def _growth(results: Results) -> Iterator[Block]:
    found = results.get("billion")
    if found is None:
        yield missing("billion")
        return
    runs = {
        name: dict(sorted(run["sizes"].items(), key=lambda size: int(size[0])))
        for name, run in found.numbers.items()
        if isinstance(run, dict) and "sizes" in run
    }
    for field, label in (("seconds", "seconds"), ("cpu_seconds", "seconds of CPU"),
                         ("proportional_bytes", "peak memory (bytes)")):  # fmt: skip
        series = [Series(name, tuple(map(int, sizes)), tuple(r[field] for r in sizes.values()))
                  for name, sizes in runs.items() if all(field in r for r in sizes.values())]  # fmt: skip
        if series:
            yield Chart(
                name=f"growth-{field}", title=f"How cost grows with tokens: {label}",
                caption="radiolabel verify from Parquet of token ids, exact distinct over the whole corpus included, "
                "start to end of the command. Memory is that of all its processes, shared pages counted once.",
                x_label="tokens", y_label=label, x_scale="log", y_scale="log", series=tuple(series),
                results=("billion",),
            )  # fmt: skip
    rows = (
        (name, number(int(tokens)), number(r["seconds"]), number(r.get("cpu_seconds")),
         number(r["proportional_bytes"] / 1e9) if "proportional_bytes" in r else "none", number(r.get("load_before")))
        for name, sizes in runs.items()
        for tokens, r in sizes.items()
    )  # fmt: skip
    yield table("Tokens, time and memory", ("run", "tokens", "seconds", "CPU seconds", "memory (GB)", "load before"),
                rows)  # fmt: skip


def _serving(results: Results) -> Iterator[Block]:
    rows = []
    for name in ("overhead", "overhead-vllm"):
        found = results.get(name)
        if found is None:
            yield missing(name)
            continue
        for engine, record in found.numbers.items():
            if not isinstance(record, dict) or "batches" not in record:
                continue
            usual = ", ".join(f"{key} {value}" for key, value in record.get("decoding", {}).items())
            for case in record["batches"]:
                wall = case["wall"]
                rates = wall["tokens_per_second"]
                own = case.get("own_share") or wall.get("own_share")
                rows.append((engine, case.get("sampling", usual), number(case["batch"]), ranged(rates["plain"]),
                             ranged(rates["marked"]), ranged(wall["marked_over_plain_time"]),
                             ranged(own) if own else "not measured"))  # fmt: skip
    if rows:
        columns = ("engine", "sampling", "batch", "plain, tokens/s", "marked, tokens/s", "time, marked over plain",
                   "of it our own")  # fmt: skip
        yield table("Serving: plain and marked in turns, median (95 % interval)", columns, rows)


def _draws(results: Results) -> Iterator[Block]:
    found = results.get("draw-speed")
    if found is None:
        yield missing("draw-speed")
        return
    peers = ("SynthID", "vLLM gumbel")
    rows = []
    for r in found.numbers["rows"]:
        ratios = (_ratio(r.get(peer)) for peer in peers)
        sizes = (number(r[name]) for name in ("vocabulary", "candidates", "batch"))
        own = (ranged(r[f"radiolabel {scheme}"]["ms"]) for scheme in ("gumbel", "tournament"))
        rows.append((*sizes, *own, *ratios))
    columns = ("vocabulary", "candidates", "batch", "gumbel, ms", "tournament, ms",
               *(f"{peer}: times gumbel" for peer in peers))  # fmt: skip
    yield table(f"One keyed draw, {found.numbers['unit']}, median (95 % interval)", columns, rows)


def _ratio(found: dict[str, Any] | None) -> str:
    return ranged(found["times radiolabel gumbel"]) if isinstance(found, dict) else "not run"


def _quality(results: Results) -> Iterator[Block]:
    found = results.get("quality")
    if found is None:
        yield missing("quality")
        return
    n = found.numbers
    arms = n["arms"]
    measures = list(next(iter(arms.values())))
    rows = []
    for measure in measures:
        for arm, own in arms.items():
            value = own[measure]
            low, high = value["difference"]
            rows.append((measure, arm, f"{number(value['mean'])} ({number(value['interval'][0])} to "
                         f"{number(value['interval'][1])})", f"{number(value['difference_mean'])} ({number(low)} to "
                         f"{number(high)})"))  # fmt: skip
    yield Text(
        f"{number(n['prompts'])} prompts, {number(n['repeats'])} answers each of up to {number(n['max_tokens'])} "
        f"tokens, {n['model']}, seed {n['seed']}. Plain sampling with other seeds says how large chance is. Intervals "
        "are percentiles of a bootstrap over prompts; differences are paired by prompt."
    )
    yield table("Quality", ("measure", "answers", "mean", "difference from plain"), rows)


def as_it_is(results: Results, name: str, title: str) -> Iterator[Block]:
    """Every number of a result with its path."""
    found = results.get(name)
    if found is None:
        return
    rows = [(path, value) for path, value in leaves(found.numbers) if path != "command"]
    yield Table(title, ("number", "value"), tuple(rows[:MOST]), max(len(rows) - MOST, 0))
