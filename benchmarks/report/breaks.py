"""What breaks it: survival under edits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from benchmarks.report.blocks import Block, Part, Results, missing, number, percent, ranged, table
from benchmarks.report.charts import Chart, Series
from verify.report.document import Text

WORDS: Final = {
    "replace": "words replaced by random ones",
    "delete": "words deleted",
    "insert": "random words inserted",
    "swap-pairs": "pairs of neighbours swapped",
    "synonyms": "words replaced by the most like",
    "dictionary": "word types replaced, always alike",
}


def part(results: Results) -> Part:
    """The fourth question."""
    return Part("breaks", "What breaks it?", tuple(_edits(results)))


def _edits(results: Results) -> Iterator[Block]:
    found = results.get("robustness")
    if found is None:
        yield missing("robustness")
        return
    rows = found.numbers["rows"]
    edits = {name: [r for r in rows if r["edit"] == name] for name in dict.fromkeys(r["edit"] for r in rows)}
    by_share = {name: own for name, own in edits.items() if name in WORDS}
    length = rows[0]["length"]
    yield Text(
        f"Documents of {length} tokens of answers under {found.numbers['mark']} at temperature "
        f"{number(found.numbers['temperature'])}, width {found.numbers['width']}, become text, are edited as text, and "
        "are tokenized again by an outsider. Whoever rewrites every sentence is rid of any mark that lives in tokens: "
        "what is measured is how much rewriting that takes."
    )
    yield Chart(
        name="survival", title="Documents still detected at 1e-6",
        caption="Share of documents with its 95 % interval (Clopper and Pearson), by the share of words that is hit.",
        x_label="share of words", y_label="share detected",
        series=tuple(_detected(WORDS[name], own) for name, own in by_share.items()), results=("robustness",),
    )  # fmt: skip
    yield Chart(
        name="decay", title="Evidence that is left",
        caption="Median log10 p of documents, shaded from quartile to quartile.",
        x_label="share of words", y_label="log10 p",
        series=tuple(_evidence(WORDS[name], own) for name, own in by_share.items()), results=("robustness",),
    )  # fmt: skip
    diluted = {"dilute": "in prose", "truncate": "truncated"}
    shown = [_evidence(label, edits[name]) for name, label in diluted.items() if name in edits]
    if shown:
        yield Chart(
            name="dilution", title="A document of which only a part is marked, or is left",
            caption="Median log10 p, shaded from quartile to quartile. Diluted documents hold all marked tokens; "
            "truncated ones lose the others.",
            x_label="share marked, or kept", y_label="log10 p", x_scale="log", series=tuple(shown),
            results=("robustness",),
        )  # fmt: skip
    once = [own[0] for name, own in edits.items() if name not in WORDS and name not in diluted]
    yield table("Edits without a strength", ("edit", "documents", "log10 p (quartiles)", "found at 1e-3",
                                             "found at 1e-6"), map(_row, once))  # fmt: skip
    every = [r for name in (*by_share, *diluted) for r in edits.get(name, [])]
    yield table("Every edit and strength", ("edit", "strength", "documents", "log10 p (quartiles)", "found at 1e-3",
                                            "found at 1e-6"),
                ((r["edit"], number(r["strength"]), *_row(r)[1:]) for r in every))  # fmt: skip


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    shares = (percent(row["detected"][rate]) for rate in ("1e-3", "1e-6"))
    return (row["edit"], number(row["documents"]), ranged(row["log10_p"]), *shares)


def _detected(label: str, rows: list[dict[str, Any]]) -> Series:
    shares = [r["detected"]["1e-6"] for r in rows]
    y, low, high = (tuple(s[name] for s in shares) for name in ("share", "low", "high"))
    return Series(label, tuple(r["strength"] for r in rows), y, low, high)


def _evidence(label: str, rows: list[dict[str, Any]]) -> Series:
    y, low, high = (tuple(r["log10_p"][name] for r in rows) for name in ("median", "low", "high"))
    return Series(label, tuple(r["strength"] for r in rows), y, low, high)
