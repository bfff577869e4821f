"""Charts as SVG, in the style of the evidence report: the same bytes every time, letters as paths."""

from __future__ import annotations

import io
from itertools import pairwise
from math import floor, log10
from typing import TYPE_CHECKING, Any, Final

from benchmarks.report.charts import Chart, Series
from verify.report.drawing import STYLE, _inline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe and Ito's colours without the yellow, neighbours of different lightness; and marks that differ.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#8C510A", "#1A1A1A", "#E69F00")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "x", "*")
SIZE: Final = (6.4, 3.4)  # inches
_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def svg(chart: Chart, index: int) -> str:
    """One chart as an `svg` element.

    Args:
        chart: what to draw.
        index: of the chart in its page, so that ids in the page differ.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": f"benchmarks-{index}"}):
        canvas = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(canvas)
        axes = canvas.add_subplot()
        _draw(axes, chart)
        canvas.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _inline(out.getvalue(), 1000 + index)


def _draw(axes: Axes, chart: Chart) -> None:
    axes.set_xscale(chart.x_scale)
    axes.set_yscale(chart.y_scale)
    for series, colour, marker in zip(chart.series, _cycle(COLOURS), _cycle(MARKERS), strict=False):
        _line(axes, chart, series, color=colour, marker=marker)
    if chart.diagonal:
        ends = [min(chart.numbers_on("x")), max(chart.numbers_on("x"))]
        axes.plot(ends, ends, color="#777777", linewidth=1, linestyle="--", label="y = x", zorder=0)
    if chart.level is not None:
        axes.axhline(chart.level, color="#777777", linewidth=1, linestyle="--", zorder=0)
    for scale, axis, name in ((chart.x_scale, axes.xaxis, "x"), (chart.y_scale, axes.yaxis, "y")):
        if scale == "log":
            _ticks(axis, chart.numbers_on(name))
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.grid(color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)
    columns = 1 if max(len(s.label) for s in chart.series) > 34 else 2 if len(chart.series) < 5 else 3
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0, fontsize=8)


def _line(axes: Axes, chart: Chart, series: Series, **style: Any) -> None:
    shown = [i for i, (x, y) in enumerate(zip(series.x, series.y, strict=True)) if _fits(chart, x, y)]
    x, y = [series.x[i] for i in shown], [series.y[i] for i in shown]
    if series.low:
        floor = min((v for s in chart.series for v in s.y if v > 0), default=1.0) / 3
        low = [max(series.low[i], floor) if chart.y_scale == "log" else series.low[i] for i in shown]
        axes.fill_between(x, low, [series.high[i] for i in shown], color=style["color"], alpha=0.15, linewidth=0)
    axes.plot(x, y, label=series.label, markersize=3.5, linewidth=1.3, **style)


def _fits(chart: Chart, x: float, y: float) -> bool:
    return (chart.x_scale == "linear" or x > 0) and (chart.y_scale == "linear" or y > 0)


def _ticks(axis: Axis, values: list[float]) -> None:
    """Ticks of a logarithmic axis: where few places are drawn they are the ticks, else whole powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    places = sorted({value for value in values if value > 0})
    few = len(places) <= 9 and all(b / a > 1.25 for a, b in pairwise(places)) and len(str(int(places[-1]))) <= 5
    decades = log10(places[-1] / places[0]) if places else 0.0
    if few:
        axis.set_major_locator(FixedLocator(places))
    elif decades < 2:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    else:
        axis.set_major_locator(LogLocator(numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))


def power(value: float) -> str:
    """A tick: with a power of ten where it would be long."""
    if 0.001 <= value < 100_000:
        return f"{value:,.10g}"
    exponent = floor(log10(value) + 1e-9)
    factor = value / 10.0**exponent
    raised = "10" + str(exponent).translate(_RAISED)
    return raised if abs(factor - 1) < 1e-9 else f"{factor:.3g}·{raised}"


def _cycle(values: tuple[str, ...]) -> list[str]:
    return list(values) * 4
