"""A report as Markdown: the same words and numbers, a table of numbers in place of each picture."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from verify.report.document import Block, Commands, Facts, Figure, Items, Notice, Quotation, Table, Text, View, plotted


def markdown(view: View) -> str:
    """The whole file."""
    lines = [f"# {_text(view.title)}", ""]
    parts = (
        ("", view.first),
        *((("Which accounts", view.accounts),) if view.accounts else ()),
        ("For experts", view.rest),
    )
    for heading, sections in parts:
        lines += [f"# {heading}", ""] if heading else []
        for section in sections:
            lines += [f"**{_text(view.banner)}**", ""] if view.banner else []
            lines += [f"## {_text(section.heading)}", ""]
            for block in section.blocks:
                lines += [*_block(block), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Text(text):
            yield _text(text)
        case Notice(text):
            yield f"**{_text(text)}**"
        case Quotation(lines):
            yield "In the words of the evidence file:"
            yield ""
            yield "\n>\n".join(f"> {_text(line)}" for line in lines or ("none",))
        case Facts(facts):
            yield from (f"- **{_text(name)}.** {_text(text)}" for name, text in facts)
        case Items(items):
            yield from (f"- {_text(text)}" for text in items)
        case Commands(lines):
            yield from (f"    {line}" for line in lines)
        case Table():
            yield from _table(block.caption, block.columns, block.rows)
            if block.left_out:
                yield ""
                yield f"{block.left_out:,} more rows are in the evidence file."
        case Figure():
            columns, rows = plotted(block.plot)
            yield f"### {_text(block.title)}"
            yield ""
            yield _text(f"{block.caption} {block.alternative}")
            yield ""
            yield from _table(f"{block.x_label}; {block.y_label}".rstrip("; "), columns, rows)


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"{_text(caption)}:"
    yield ""
    yield _row(columns)
    yield "|" + "---|" * len(columns)
    yield from map(_row, rows or [("none", *[""] * (len(columns) - 1))])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_text, cells)) + " |"


def _text(text: str) -> str:
    """Text in which nothing is markup, HTML included: every ASCII sign that could be is escaped (CommonMark, 2.4)."""
    return re.sub(r"([\\`*_{}\[\]<>#|~&!$])", r"\\\1", text).replace("://", ":\\//").replace("@", "\\@")
