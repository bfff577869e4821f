"""Figures as SVG that is the same bytes every time: fixed ids, no date, letters as paths."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

from verify.errors import InputError
from verify.report.document import Bars, Curve, Figure, Intervals, Points, Shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that differ in lightness too, so that they survive a grey printer (Okabe and Ito 2008, "Color Universal
# Design").
DATA: Final = "#0072B2"
MARK: Final = "#D55E00"
QUIET: Final = "#BBBBBB"
WIDTH: Final = 6.4  # inches
ROW: Final = 0.28
# Colour and sign of each kind of point; the last is for what belongs to none.
SIGNS: Final = ((DATA, "o"), (MARK, "^"), ("#009E73", "s"), ("#CC79A7", "D"), ("#777777", "o"))
STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "radiolabel",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",  # it comes with matplotlib
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": False,
    "text.usetex": False,
    "text.parse_math": False,  # a name may hold dollar signs
}


def svg(figure: Figure, index: int) -> str:
    """One figure as an `svg` element.

    Args:
        figure: what to draw.
        index: of the figure in its page, so that ids in the page differ.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure as Canvas
    except ModuleNotFoundError:
        raise InputError("the package matplotlib is not installed", hint="pip install radiolabel[report]") from None
    style = STYLE | {"svg.hashsalt": f"radiolabel-{index}"}
    out = io.StringIO()
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=(WIDTH, _height(figure)), layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.add_subplot()
        _DRAW[type(figure.plot)](axes, figure.plot)
        axes.set_xlabel(figure.x_label)
        axes.set_ylabel(figure.y_label)
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), index)


def _inline(text: str, index: int) -> str:
    """The element alone, with ids of its own, as wide as there is room, and without metadata that names addresses."""
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' xmlns:xlink="[^"]*"', "", text, count=1).replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="f{index}-', text)
    text = re.sub(r'href="#', f'href="#f{index}-', text)
    text = re.sub(r"url\(#", f"url(#f{index}-", text)
    return text.strip()


def _height(figure: Figure) -> float:
    plot = figure.plot
    rows = len(plot.labels) if isinstance(plot, Intervals | Shares) else 0
    return 1.1 + ROW * rows if rows else 4.0 if isinstance(plot, Points) else 2.9


def _curve(axes: Axes, plot: Curve) -> None:
    axes.plot(plot.x, plot.y, color=DATA, marker="o", markersize=3, label=plot.names[1])
    axes.axhline(plot.threshold, color=MARK, linestyle="--", label=plot.names[2])
    axes.set_xlim(left=0)
    if not plot.above:
        axes.invert_yaxis()  # stronger is higher in every figure
    _thousands(axes)
    axes.legend(frameon=False)


def _bars(axes: Axes, plot: Bars) -> None:
    step = plot.edges[1] - plot.edges[0]
    left = [plot.edges[0] - step, *plot.edges]
    style: dict[str, Any] = {"width": step, "align": "edge", "color": QUIET, "edgecolor": "#777777", "linewidth": 0.4}
    axes.bar(left, plot.counts, label="decoys", **style)
    axes.axvline(plot.mark, color=MARK, linewidth=2, label="true key")
    axes.legend(frameon=False)


def _intervals(axes: Axes, plot: Intervals) -> None:
    rows = range(len(plot.labels))
    for row, low, high in zip(rows, plot.lows, plot.highs, strict=True):
        if low is not None and high is not None:
            axes.plot([low, high], [row, row], color=DATA, linewidth=2, solid_capstyle="butt")
    axes.plot(plot.values, list(rows), "o", color=DATA, markersize=5, linestyle="none")
    axes.axvline(plot.reference, color=MARK, linestyle="--", label=plot.reference_name)
    _label(axes, plot.labels)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)


def _shares(axes: Axes, plot: Shares) -> None:
    rows, left = range(len(plot.labels)), [0] * len(plot.labels)
    for name, counts, color in (("wins", plot.wins, DATA), ("losses", plot.losses, MARK), ("ties", plot.ties, QUIET)):
        axes.barh(list(rows), counts, left=left, color=color, label=name, height=0.7)
        left = [a + b for a, b in zip(left, counts, strict=True)]
    _label(axes, plot.labels)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0)


def _points(axes: Axes, plot: Points) -> None:
    axes.axvline(plot.reference, color="#777777", linewidth=0.8, label=plot.names[1])
    axes.axhline(plot.threshold, color=MARK, linestyle="--", label=plot.names[2])
    for cloud in plot.clouds:
        color, sign = SIGNS[cloud.style]
        face = color if cloud.filled else "none"
        axes.plot(cloud.x, cloud.y, sign, color=color, markerfacecolor=face, markersize=4, markeredgewidth=0.8,
                  linestyle="none", label="".join(c if c in _KNOWN else "?" for c in cloud.label))  # fmt: skip
    axes.set_xlim(-0.02, 1.02)
    axes.margins(y=0.05)
    axes.invert_yaxis()  # stronger is higher in every figure
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0, fontsize=8)


def _label(axes: Axes, labels: tuple[str, ...]) -> None:
    drawn = ["".join(c if c in _KNOWN else "?" for c in label) for label in labels]
    axes.set_yticks(range(len(labels)), [label if len(label) <= 30 else label[:29] + "…" for label in drawn])
    axes.set_ylim(len(labels) - 0.4, -0.6)


def _thousands(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value < 1e12 else f"{value:.3g}"))


# Latin letters and signs, which the font has; a warning of a missing one would name it.
_KNOWN: Final = frozenset(map(chr, (*range(0x20, 0x7F), *range(0xA1, 0x180)))) | set("“”‘’…–—")
_DRAW: Final[dict[type, Any]] = {Curve: _curve, Bars: _bars, Intervals: _intervals, Shares: _shares, Points: _points}
