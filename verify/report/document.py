"""What a report says, apart from how it looks: sections of blocks. Renderers lay it out and add nothing."""

from __future__ import annotations

from typing import Final

import msgspec

_BIN: Final = 0.1  # of a share, in the table of a cloud


class _Block(msgspec.Struct, frozen=True, tag_field="kind", tag=str.lower):
    """Something in a section."""


class Text(_Block, frozen=True):
    """A paragraph."""

    text: str


class Notice(_Block, frozen=True):
    """A paragraph that nobody may miss."""

    text: str


class Quotation(_Block, frozen=True):
    """Words of the evidence file, not of the report."""

    lines: tuple[str, ...]


class Facts(_Block, frozen=True):
    """Names, and what is said of each."""

    rows: tuple[tuple[str, str], ...]


class Items(_Block, frozen=True):
    """A list; a numbered one if the order says something."""

    items: tuple[str, ...]


class Commands(_Block, frozen=True):
    """What to type."""

    lines: tuple[str, ...]


class Table(_Block, frozen=True):
    """Rows under named columns; the first cell of a row names it.

    Attributes:
        left_out: rows that the evidence file has and the report has not.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


class Curve(_Block, frozen=True):
    """A line with a threshold.

    Attributes:
        names: of x, y and the threshold, for the table.
        above: whether the decision needs values above the threshold, not below it.
    """

    names: tuple[str, str, str]
    x: tuple[int, ...]
    y: tuple[float, ...]
    threshold: float
    above: bool


class Bars(_Block, frozen=True):
    """Counts between edges, the outer ones open, and where the true value lies."""

    names: tuple[str, str, str]
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mark: float


class Intervals(_Block, frozen=True):
    """Values with intervals; a value without one has None at its ends."""

    names: tuple[str, str, str, str]
    labels: tuple[str, ...]
    values: tuple[float, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]
    reference: float
    reference_name: str


class Shares(_Block, frozen=True):
    """Wins, losses and ties of each label."""

    labels: tuple[str, ...]
    wins: tuple[int, ...]
    losses: tuple[int, ...]
    ties: tuple[int, ...]


class Cloud(_Block, frozen=True):
    """Points of one kind.

    Attributes:
        label: of all of them, in the legend and the table.
        style: which colour and sign; kinds of one style belong together.
        filled: whether they stand out.
        x: of each point.
        y: likewise.
        n: how many lie there.
    """

    label: str
    style: int
    filled: bool
    x: tuple[float, ...]
    y: tuple[float, ...]
    n: tuple[int, ...]


class Points(_Block, frozen=True):
    """Clouds of points, a line where x is without an effect, and one that y has to pass; y grows downwards.

    Attributes:
        names: of x and of both lines.
        clouds: drawn one after the other.
        reference: of x.
        threshold: of y.
    """

    names: tuple[str, str, str]
    clouds: tuple[Cloud, ...]
    reference: float
    threshold: float


Plot = Curve | Bars | Intervals | Shares | Points


class Figure(_Block, frozen=True, kw_only=True):
    """A picture, with all that stands for it where it cannot be seen."""

    name: str
    title: str
    caption: str
    alternative: str
    x_label: str
    y_label: str
    plot: Plot


Block = Text | Notice | Quotation | Facts | Items | Commands | Table | Figure


class Section(msgspec.Struct, frozen=True):
    """A heading and what stands under it."""

    name: str
    heading: str
    blocks: tuple[Block, ...]


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report.

    Attributes:
        title: also of the window.
        banner: what stands over every section, or nothing.
        first: for a judge, one page.
        accounts: which accounts, where a test asks that; a page of its own.
        rest: for an expert.
        source: SHA-256 of the evidence file.
    """

    title: str
    banner: str
    first: tuple[Section, ...]
    accounts: tuple[Section, ...] = ()
    rest: tuple[Section, ...]
    source: str


def plotted(plot: Plot) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the numbers in a picture."""
    if isinstance(plot, Curve):
        x, y, threshold = plot.names
        return (x, y, threshold), [
            (f"{a:,}", f"{b:.6g}", f"{plot.threshold:g}") for a, b in zip(plot.x, plot.y, strict=True)
        ]
    if isinstance(plot, Bars):
        low, high, count = plot.names
        edges = ["below", *(f"{edge:g}" for edge in plot.edges), "and above"]
        return (low, high, count), [(edges[i], edges[i + 1], f"{n:,}") for i, n in enumerate(plot.counts)]
    if isinstance(plot, Intervals):
        ends = zip(plot.labels, plot.values, plot.lows, plot.highs, strict=True)
        return plot.names, [
            (label, f"{value:.6g}", *("none" if end is None else f"{end:.6g}" for end in (low, high)))
            for label, value, low, high in ends
        ]
    if isinstance(plot, Points):
        return ("accounts", f"{plot.names[0]}, from", "to", "count"), [
            (cloud.label, f"{low:.2f}", f"{low + _BIN:.2f}", f"{count:,}")
            for cloud in plot.clouds
            for low, count in _binned(cloud)
        ]
    counts = zip(plot.labels, plot.wins, plot.losses, plot.ties, strict=True)
    return ("account", "wins", "losses", "ties"), [(name, f"{w:,}", f"{lo:,}", f"{t:,}") for name, w, lo, t in counts]


def _binned(cloud: Cloud) -> list[tuple[float, int]]:
    """Lower ends of the bins of x that hold points, and how many."""
    counts: dict[int, int] = {}
    for x, n in zip(cloud.x, cloud.n, strict=True):
        place = min(int(x / _BIN + 1e-9), round(1 / _BIN) - 1)
        counts[place] = counts.get(place, 0) + n
    return [(place * _BIN, counts[place]) for place in sorted(counts)]
