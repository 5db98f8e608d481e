"""Charts with Plotly: each function makes a figure from numbers.

Colors are names of the page's CSS variables; ``templates/charts.js`` puts the theme's colors in their places.
"""

import html
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import plotly.graph_objects as go

from distill.evaluation.results import ReliabilityBin
from distill.utils.units import percent

BLACK_TEXT = 0.44  # share of viridis from which on black text has a better contrast than white text
ROW_PX, LETTER_PX = 24, 6.5  # height of a bar, width of a letter


def plain(text: str, limit: int | None = None) -> str:
    """Text for a figure, where Plotly would read tags as HTML; cut to ``limit`` letters.

    Example:
        >>> plain("<b>cat & dog</b>"), plain("a long name", 6)
        ('&lt;b&gt;cat &amp; dog&lt;/b&gt;', 'a lon…')
    """
    return html.escape(text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…", quote=False)


def robust_range(values: Iterable[float], reach: float = 4.0, direction: str = "max") -> tuple[float, float]:
    """The range of scores without bad outliers: its worse end is at most ``reach`` times |best − median| from the best.

    Args:
        values: the scores.
        reach: see above.
        direction: "max" or "min", which of them are better.

    Example:
        >>> robust_range([0.1, 0.94, 0.95, 0.96, 0.97])
        (0.89, 0.97)
        >>> robust_range([5.0, 6.0, 7.0, 90.0], direction="min")
        (5.0, 9.0)
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return 0.0, 1.0
    if direction == "min":
        low, high = robust_range([-value for value in finite], reach)
        return -high, -low
    low, median, high = finite[0], finite[len(finite) // 2], finite[-1]
    return (round(max(low, high - reach * (high - median)), 9), high) if high > median else (low, high)


def chart(traces: Sequence[Any], label: str, height: float = 240, **layout: Any) -> go.Figure:
    """A figure that ``templates/charts.js`` gives its style; ``label`` is its text for screen readers."""
    return go.Figure(data=traces, layout={"template": go.layout.Template(), "meta": label, "height": height, **layout})


def number_axis(values: Sequence[float], title: str) -> dict[str, Any]:
    """An axis of numbers; logarithmic where they are positive and span more than a factor of 30."""
    is_log = bool(values) and min(values) > 0 and max(values) / min(values) > 30
    axis = {"title": {"text": plain(title)}, "type": "log" if is_log else "linear"}
    return axis | ({"dtick": 1, "exponentformat": "none"} if is_log else {})


def category_axis(names: Sequence[str], limit: int = 18) -> dict[str, Any]:
    """An axis of names at 0, 1, 2, ..."""
    ticks = [plain(name, limit) for name in names]
    return {"tickvals": list(range(len(names))), "ticktext": ticks, "range": [-0.5, len(names) - 0.5]}


def value_range(low: float, high: float, share: bool = True) -> list[float]:
    """The range of an axis: with a margin, of shares within 0 and 1."""
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    if not share:
        return [low - margin, high + margin]
    return [max(low - margin, 0.0), max(min(high + margin, 1.0), 1e-9)]


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]  # (x, y), in the order of x
    color: str  # a CSS variable of the page: "student", "teacher", "alone", "other", or "k0" ... "k9"
    dashed: bool = False
    thin: bool = False  # without marks, and thin and pale unless dashed: one of many
    link: str | None = None  # what a click on it chooses in the page's table


def line_trace(line: Line, hover: str) -> go.Scatter:
    """A line that has points, and the template of what is said at the pointer."""
    pale = line.thin and not line.dashed
    return go.Scatter(
        x=[x for x, _ in line.points], y=[y for _, y in line.points], name=plain(line.name), meta=line.link,
        mode="lines" if line.thin or len(line.points) > 40 else "lines+markers", marker={"size": 5},
        line={"color": f"var(--{line.color})", "width": 1 if pale else 2, "dash": "dash" if line.dashed else "solid"},
        opacity=0.6 if pale else 1, hovertemplate=f"{hover}<extra></extra>",
    )  # fmt: skip


def lines(
    series: Sequence[Line], label: str, share: bool = False, floor: float | None = None, ceiling: float | None = None
) -> go.Figure:
    """A line chart over the epochs.

    Args:
        series: the lines; those without points are left out.
        label: for a screen reader.
        share: the values are shares, shown in percent.
        floor: where the y axis begins; None: below the lowest value.
        ceiling: where it ends; None: above the highest value.
    """
    hover = f"%{{fullData.name}}, epoch %{{x}}: %{{y:{'.2%' if share else '.4~g'}}}"
    traces = [line_trace(line, hover) for line in series if line.points]
    epochs = [x for trace in traces for x in trace.x]
    last = max(epochs, default=1)
    yaxis: dict[str, Any] = {"tickformat": "~%"} if share else {}
    limits = {key: end for key, end in (("minallowed", floor), ("maxallowed", ceiling)) if end is not None}
    yaxis["autorangeoptions"] = {**limits, "clipmin": 0, "clipmax": 1} if share else limits
    ticks = {"nticks": min(6, math.ceil(last - min(epochs, default=0)) + 1)}
    return chart(traces, label, xaxis={"title": {"text": "epoch"}, **ticks}, yaxis=yaxis)


class Dot(NamedTuple):
    """One point; ``color`` is a CSS variable of the page, or a share of viridis."""

    x: float
    y: float
    color: str | float
    text: str
    highlighted: bool = False
    link: str | int | None = None  # what a click on it chooses in the page's table, or its number among its samples


def dots(points: Sequence[Dot], symbols: Sequence[str] | str = "circle", size: float = 6) -> go.Scatter:
    """Points, each with its text."""
    return go.Scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        mode="markers",
        marker={
            "color": [p.color if isinstance(p.color, float) else f"var(--{p.color})" for p in points],
            "symbol": symbols,
            "opacity": [1.0 if point.highlighted else 0.65 for point in points],
            "size": [10 if point.highlighted else size for point in points],
            "line": {"color": "var(--ink)", "width": [2 if point.highlighted else 0 for point in points]},
        },
        hovertext=[plain(point.text) for point in points],
        customdata=[point.link for point in points] if any(point.link is not None for point in points) else None,
        cliponaxis=False,
    )


def embedding_map(points: Sequence[Dot], is_wrong: Sequence[bool], label: str) -> go.Figure:
    """Points in the plane, as of a t-SNE embedding, whose axes mean nothing; rings where the answer is wrong."""
    axis = {"showticklabels": False, "showgrid": False, "showline": True, "mirror": True, "linecolor": "var(--rule)"}
    series: dict[tuple[bool, str | float], list[Dot]] = {}  # a trace per color, for the legend to switch; rings on top
    for point, wrong in sorted(zip(points, is_wrong, strict=True), key=lambda pair: pair[1]):
        series.setdefault((wrong, point.color), []).append(point)
    traces = [dots(each, "circle-open" if wrong else "circle", size=5) for (wrong, _), each in series.items()]
    return chart(traces, label, height=360, xaxis=axis, yaxis=axis)


def reliability_diagram(bins: Sequence[ReliabilityBin], color: str, label: str) -> go.Figure:
    """Accuracy over confidence in bins, the darker the more samples; a calibrated model is on the diagonal."""
    largest, total = max((b.count for b in bins), default=1) or 1, sum(b.count for b in bins) or 1
    filled = [b for b in bins if b.count]
    bars_of_bins = go.Bar(
        x=[(b.low + b.high) / 2 for b in filled],
        y=[b.accuracy for b in filled],
        width=[0.94 * (b.high - b.low) for b in filled],
        marker={"color": f"var(--{color})", "opacity": [0.3 + 0.7 * b.count / largest for b in filled]},
        hovertext=[
            f"confidence {b.low:.2f} to {b.high:.2f}: {b.count} samples ({100 * b.count / total:.1f} %),<br>"
            f"mean confidence {b.confidence:.3f}, accuracy {b.accuracy:.3f}"
            for b in filled
        ],
    )
    means = go.Scatter(
        x=[b.confidence for b in filled],
        y=[b.accuracy for b in filled],
        mode="markers",
        marker={"size": 4, "color": "var(--surface)", "line": {"color": "var(--ink)", "width": 1}},
        hoverinfo="skip",
    )
    diagonal = go.Scatter(
        x=[0, 1], y=[0, 1], mode="lines", opacity=0.6, hoverinfo="skip",
        line={"color": "var(--ink)", "width": 1.2, "dash": "dash"},
    )  # fmt: skip
    axis = {"range": [0, 1], "dtick": 0.25, "tickformat": "~%"}
    xaxis, yaxis = ({**axis, "title": {"text": title}} for title in ("confidence", "accuracy"))
    margin = {"l": 8, "r": 20, "t": 8, "b": 8}
    return chart([bars_of_bins, means, diagonal], label, xaxis=xaxis, yaxis=yaxis, margin=margin)


def outline(x: float, y: float, color: str, width: float) -> dict[str, Any]:
    """The outline of the cell of a heatmap in column ``x`` and row ``y``."""
    corners = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
    return {"type": "rect", **corners, "line": {"color": f"var(--{color})", "width": width}}


def confusion_matrix(
    values: Sequence[Sequence[float]], names: Sequence[str], label: str, sign: str = "+", labelled: bool = True
) -> go.Figure:
    """A confusion matrix or a difference of two: positive in the student's color, negative in the teacher's.

    Args:
        values: rows are true classes, columns answers.
        names: of the classes.
        label: what it shows.
        sign: of positive numbers ("+" or "").
        labelled: whether the names stand at its sides; else they are seen at the pointer alone.
    """
    n = len(names)
    largest = max((abs(value) for row in values for value in row), default=1) or 1
    heatmap = go.Heatmap(
        z=[[math.copysign((abs(value) / largest) ** 0.6, value) for value in row] for row in values],
        zmin=-1,
        zmax=1,
        colorscale=[[0, "var(--teacher)"], [0.5, "var(--surface)"], [1, "var(--student)"]],
        opacity=0.75,
        showscale=False,
        xgap=1,
        ygap=1,
        text=[[f"{value:{sign}g}" if value and n <= 12 else "" for value in row] for row in values],
        texttemplate="%{text}",
        textfont={"color": "var(--ink)", "size": 10},
        hovertext=[
            [plain(f"true class {true}, answer {names[j]}: {value:{sign}g}") for j, value in enumerate(row)]
            for true, row in zip(names, values, strict=True)
        ],
    )
    axis = category_axis(names, 14) | {"showgrid": False, "showline": False, "showticklabels": labelled}
    xaxis = axis | {"side": "top", "tickangle": -60}
    yaxis = axis | {"range": [n - 0.5, -0.5]}
    diagonal = [outline(i, i, "muted", 1) for i in range(n)]
    height = 110 + n * (30 if n <= 12 else 22) if labelled else 560
    return chart([heatmap], label, height, xaxis=xaxis, yaxis=yaxis, shapes=diagonal)


def color_axis(
    low: float, high: float, beyond: int, show: Callable[[float], str] = percent, direction: str = "max"
) -> dict[str, Any]:
    """A scale of viridis, the best light, for scores that ``show`` writes; ``beyond`` of them lie beyond its worse end.

    ``direction``, "max" or "min", says which are better.
    """
    ends = [show(low), show(high)]
    if beyond:
        ends[direction == "min"] += f" ({beyond} {'higher' if direction == 'min' else 'lower'})"
    color_bar = {
        "orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 10, "len": 0.6, "outlinewidth": 0,
        "tickvals": [low, high], "ticktext": ends,
    }  # fmt: skip
    low, high = (low, high) if high > low else (low - 0.006 * (abs(low) or 1), high + 0.004 * (abs(low) or 1))
    return {
        "colorscale": "Viridis", "reversescale": direction == "min", "cmin": low, "cmax": high, "colorbar": color_bar,
    }  # fmt: skip


def text_on(value: float, axis: dict[str, Any]) -> str:
    """The color of text on a value's color: black or white, whichever has the better contrast."""
    share = (value - axis["cmin"]) / (axis["cmax"] - axis["cmin"])
    return "#000" if (1 - share if axis.get("reversescale") else share) >= BLACK_TEXT else "#fff"


class Bar(NamedTuple):
    """One bar: its name, its value, the text at its end, its color (a CSS variable of the page)."""

    name: str
    value: float
    text: str
    color: str


def bars(rows: Sequence[Bar], label: str, largest: float | None = None) -> go.Figure:
    """Bars as long as the absolute values; ``largest`` is the full length (None: the longest bar)."""
    full = largest or max((abs(row.value) for row in rows), default=1) or 1
    trace = go.Bar(
        x=[min(abs(row.value), full) for row in rows],
        y=list(range(len(rows))),
        orientation="h",
        width=0.5,
        marker={"color": [f"var(--{row.color})" for row in rows]},
        text=[plain(row.text) for row in rows],
        textposition="outside",
        cliponaxis=False,
        hovertext=[plain(f"{row.name}: {row.text}") for row in rows],
    )
    yaxis = category_axis([row.name for row in rows], 24) | {"range": [len(rows) - 0.5, -0.5], "showgrid": False}
    margin = {"l": 8, "t": 4, "b": 4, "r": 8 + LETTER_PX * max((len(row.text) for row in rows), default=0)}
    xaxis = {"range": [0, full], "visible": False}
    return chart([trace], label, 8 + ROW_PX * len(rows), xaxis=xaxis, yaxis=yaxis, margin=margin)
