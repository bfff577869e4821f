"""What the parts of the report are made of, and how numbers are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report.charts import Chart
from benchmarks.suite.results import Result
from verify.report.document import Notice, Table, Text

Block = Text | Notice | Table | Chart


@dataclass(frozen=True)
class Part:
    """One question and its answer.

    Attributes:
        name: unique in the page.
        question: its heading.
        blocks: what stands under it.
    """

    name: str
    question: str
    blocks: tuple[Block, ...]


class Results:
    """Result files by name.

    Args:
        found: as `benchmarks.suite.results.read_all` has them.
    """

    def __init__(self, found: Mapping[str, Result]) -> None:
        self._found = dict(found)

    def __iter__(self) -> Any:
        return iter(self._found.values())

    def get(self, name: str) -> Result | None:
        """The suite's result, or the one that the benchmark's own command wrote."""
        return self._found.get(name) or self._found.get(f"own/{name}")

    def own(self, name: str) -> Result | None:
        """The one that the benchmark's own command wrote."""
        return self._found.get(f"own/{name}")


def missing(name: str, profile: str = "full") -> Notice:
    """In place of what was not run."""
    return Notice(f"Not run: python -m benchmarks run {name} --profile {profile}")


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table."""
    return Table(caption, tuple(columns), tuple(map(tuple, rows)))


def number(value: Any, digits: int = 3) -> str:
    """A number as people read it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or (abs(value) >= 1000 and float(value).is_integer()):
        return f"{value:,}" if abs(value) < 10**15 else f"{value:.3g}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.{digits}g}"


def percent(share: Mapping[str, Any]) -> str:
    """A share with its interval."""
    return f"{100 * share['share']:.3g} % ({100 * share['low']:.2g} to {100 * share['high']:.2g})"


def ranged(found: Mapping[str, Any], middle: str = "median") -> str:
    """A value with its interval."""
    return f"{number(found[middle])} ({number(found['low'])} to {number(found['high'])})"


def spanned(found: Mapping[str, Any]) -> str:
    """A median with the smallest and the largest."""
    return f"{number(found['median'])} ({number(found['min'])} to {number(found['max'])})"


def leaves(record: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """Every value of a JSON record with its path: for results that no part knows better."""
    if isinstance(record, dict):
        for name, value in record.items():
            yield from leaves(value, f"{path} / {name}" if path else str(name))
    elif isinstance(record, list):
        if all(not isinstance(v, dict | list) for v in record):
            yield path, ", ".join(number(v) for v in record[:8]) + (", ..." if len(record) > 8 else "")
        else:
            for i, value in enumerate(record):
                yield from leaves(value, f"{path} / {i + 1}")
    else:
        yield path, number(record)
