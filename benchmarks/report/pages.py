"""The report as files: one HTML page without a script or an address, and a summary in Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.report import breaks, compares, costs, made, trust, works
from benchmarks.report.blocks import Block, Part, Results, number
from benchmarks.report.charts import Chart
from benchmarks.report.drawing import svg
from benchmarks.suite.results import read_all
from verify.report.document import Notice, Table, Text

TITLE: Final = "Radiolabel: can it be trusted, does it work, what does it cost"
MOST: Final = 12  # rows of a table in the summary


def parts(results: Results) -> list[Part]:
    """The whole report, in the order in which people ask."""
    return [module.part(results) for module in (trust, works, costs, breaks, compares, made)]


def write(folder: Path, *, html: Path, markdown: Path | None) -> list[Path]:
    """Write the report of a folder of results.

    Returns:
        What was written.
    """
    found = parts(Results(read_all(folder)))
    files = [(html, page(found)), *([(markdown, summary(found))] if markdown else [])]
    for file, text in files:
        part = file.with_name(f"{file.name}.part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    return [file for file, _ in files]


def page(found: list[Part]) -> str:
    """The HTML."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    numbers = count(1)

    def drawn(chart: Chart) -> Markup:
        return Markup(svg(chart, next(numbers)))  # matplotlib escapes text, and draws it as paths

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"svg": drawn, "number": number, "exact": repr}
    style = (resources.files("verify.report") / "page.css").read_text("utf-8")
    own = resources.files("benchmarks.report")
    template, added = ((own / name).read_text("utf-8") for name in ("page.jinja", "page.css"))
    return environment.from_string(template).render(title=TITLE, parts=found, style=Markup(style + added)) + "\n"


def summary(found: list[Part]) -> str:
    """The Markdown: words and short tables; pictures are in the page."""
    lines = [f"# {TITLE}", ""]
    for part in found:
        lines += [f"## {part.question}", ""]
        for block in part.blocks:
            lines += [*_lines(block), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield block.text
    elif isinstance(block, Notice):
        yield f"**{block.text}**"
    elif isinstance(block, Table):
        yield f"{block.caption}:\n"
        yield _row(block.columns)
        yield "|" + "---|" * len(block.columns)
        yield from map(_row, block.rows[:MOST])
        left = len(block.rows) - MOST + block.left_out
        if left > 0:
            yield f"\n{left:,} more rows are in the page or in the result file."
    else:
        yield f"Figure, in the page: {block.title}."


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
