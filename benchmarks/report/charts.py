"""Pictures as the numbers that are drawn, each as its result file has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Series:
    """Points of one label, joined by a line.

    Attributes:
        label: in the legend.
        x: (n,) places.
        y: (n,) values.
        low: (n,) lower ends of intervals, or nothing.
        high: (n,) upper ends, or nothing.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Lines over one axis.

    Attributes:
        name: of the picture, unique in the page.
        title: over it.
        caption: under it.
        x_label: of the axis, with its unit.
        y_label: likewise.
        series: what is drawn; a value that a logarithmic axis has no place for is in the table only.
        x_scale: of the axis.
        y_scale: of the axis.
        diagonal: draw y = x.
        level: draw a line at this y.
        results: names of the result files that have the numbers.
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_scale: Scale = "linear"
    y_scale: Scale = "linear"
    diagonal: bool = False
    level: float | None = None
    results: tuple[str, ...] = field(default=())

    def rows(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        """Label, and the numbers of each point: x, y and, if there is one, its interval."""
        for s in self.series:
            columns = [s.x, s.y, *((s.low, s.high) if s.low else ())]
            yield from ((s.label, point) for point in zip(*columns, strict=True))

    def numbers(self) -> Iterator[float]:
        """Every number that is drawn."""
        for _, point in self.rows():
            yield from point

    def numbers_on(self, axis: str) -> list[float]:
        """Every number on one axis, `x` or `y`."""
        return [value for s in self.series for value in getattr(s, axis)]
