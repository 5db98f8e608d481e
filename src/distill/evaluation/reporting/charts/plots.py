"""Plots as SVG: lines, dots with means, a scatter plot, a reliability diagram."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Scale,
    axis_lines,
    circle,
    frame,
    percent,
    plain,
    span,
    svg,
    ticks,
    y_grid,
)  # fmt: skip

LETTER_PX = 6.0  # width of a letter of a tick's label
SCATTER_PX = 360  # side of a scatter plot


@dataclass(frozen=True)
class Line:
    """One line of a chart."""

    name: str
    points: Sequence[tuple[float, float]]  # (x, y), in the order of x
    color: str  # a CSS variable of the page: "student", "teacher", "alone", "other", or "k0" ... "k9"
    dashed: bool = False
    thin: bool = False  # without marks, and thin and pale unless dashed: one of many


def legend(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """Names with their colors: (name, color, "", "dashed" or "spot")."""
    items = "".join(
        f'<span><i class="key {style}" style="--tone:var(--{color})"></i>{escape(name)}</span>'
        for name, color, style in entries
    )
    return Markup(f'<p class="legend">{items}</p>')


def lines(series: Sequence[Line], title: str, share: bool = False, floor: float | None = None) -> Markup:
    """A line chart over the epochs.

    Args:
        series: the lines; those without points are left out.
        title: for a screen reader.
        share: the values are shares, shown in percent.
        floor: lines are clipped at this value; None: whole.
    """
    if floor is not None:
        series = [replace(line, points=_clip(line.points, floor)) for line in series]
    series = [line for line in series if line.points]
    xs = [x for line in series for x, _ in line.points]
    low, high = span([y for line in series for _, y in line.points])
    low = low if floor is None else floor
    if share:
        low, high = max(low, 0.0), min(high, 1.0) if high > 0.9 else high
    x = Scale(min(xs, default=0), max(xs, default=1), LEFT + 6, RIGHT - 6)
    y = Scale(low, high, BOTTOM, TOP)
    epochs = [tick for tick in ticks(x.low, x.high, 6) if tick == round(tick)] or [x.low]
    body = frame(x, y, epochs, ticks(low, high), "epoch", "", y_format=percent if share else plain)
    for line in series:
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        path = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in line.points)
        css_class = "line thin" if line.thin and not line.dashed else "line"
        body += f'<polyline class="{css_class}" style="stroke:var(--{line.color})" points="{path}"{dash}/>'
        if line.thin:
            continue
        for epoch, value in line.points if len(line.points) <= 40 else line.points[-1:]:
            text = percent(round(value, 4)) if share else f"{value:.4g}"
            tooltip = f"{line.name}, epoch {epoch:g}: {text}"
            body += circle(x(epoch), y(value), 2.6, f"fill:var(--{line.color})", tooltip)
    return svg(body, title)


def _clip(points: Sequence[tuple[float, float]], floor: float) -> list[tuple[float, float]]:
    """The part of a line from where it first reaches the floor; later dips end on it."""
    first = next((i for i, (_, y) in enumerate(points) if y >= floor), len(points))
    clipped = [(x, max(y, floor)) for x, y in points[first:]]
    if 0 < first < len(points):
        (x0, y0), (x1, y1) = points[first - 1], points[first]
        clipped.insert(0, (x0 + (x1 - x0) * (floor - y0) / (y1 - y0), floor))
    return clipped


class Dot(NamedTuple):
    """One point; ``color`` is a CSS value."""

    x: float
    y: float
    color: str
    tooltip: str
    highlighted: bool = False


class Mean(NamedTuple):
    """A mean with its standard deviation (0: no whisker)."""

    x: float
    y: float
    std: float
    tooltip: str


class Level(NamedTuple):
    """A dashed horizontal line; ``color`` is a CSS variable of the page."""

    name: str
    value: float
    color: str


def dot_plot(
    points: Sequence[Dot],
    title: str,
    x_axis: Axis,
    y_axis: Axis,
    means: Sequence[Mean] = (),
    levels: Sequence[Level] = (),
    join_means: bool = False,
) -> Markup:
    """Points, means with whiskers, and levels; points outside of the y axis are drawn hollow at its end."""
    x, y = x_axis.scale(LEFT + 4, RIGHT), y_axis.scale(BOTTOM, TOP)
    labels, extra_height = _x_labels(x_axis, x)
    body = axis_lines("", y_axis.title) + y_grid(y, y_axis.ticks) + labels
    for level in levels:
        if y_axis.low <= level.value <= y_axis.high:
            body += (
                f'<line class="level" style="stroke:var(--{level.color})" x1="{LEFT}" x2="{RIGHT}" '
                f'y1="{y(level.value):.1f}" y2="{y(level.value):.1f}"><title>{escape(level.name)}</title></line>'
            )
    for point in points:
        inside = y_axis.low <= point.y <= y_axis.high
        y_px = y(min(max(point.y, y_axis.low), y_axis.high))
        style = f"{'fill' if inside else 'stroke'}:{point.color}"
        css_class = "marked" if point.highlighted else "dot" if inside else "ring"
        body += circle(x(point.x), y_px, 5 if point.highlighted else 3, style, point.tooltip, css_class)
    return svg(body + _means(means, x, y, y_axis, join_means), title, WIDTH, HEIGHT + extra_height)


def _means(
    means: Sequence[Mean], x: Callable[[float], float], y: Callable[[float], float], y_axis: Axis, join: bool
) -> str:
    visible = [mean for mean in means if y_axis.low <= mean.y <= y_axis.high]
    path = " ".join(f"{x(mean.x):.1f},{y(mean.y):.1f}" for mean in visible)
    body = f'<polyline class="joined" points="{path}"/>' if join and len(visible) > 1 else ""
    for mean in visible:
        x_px = x(mean.x)
        if mean.std:
            low, high = y(max(mean.y - mean.std, y_axis.low)), y(min(mean.y + mean.std, y_axis.high))
            body += f'<line class="whisker" x1="{x_px:.1f}" x2="{x_px:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'
        body += (
            f'<rect class="middle" x="{x_px - 4.5:.1f}" y="{y(mean.y) - 4.5:.1f}" width="9" height="9" rx="2">'
            f"<title>{escape(mean.tooltip)}</title></rect>"
        )
    return body


def _x_labels(axis: Axis, x: Callable[[float], float]) -> tuple[str, float]:
    """The labels under the axis (rotated where they are too long to stand side by side), and their extra height."""
    names = [label if len(label) <= 18 else f"{label[:17]}…" for _, label in axis.ticks]
    positions = [x(value) for value, _ in axis.ticks]
    spacing = min((b - a for a, b in pairwise(positions)), default=RIGHT - LEFT)
    longest = max(map(len, names), default=0) * LETTER_PX
    base, body = BOTTOM + 14, ""
    rotated = longest > spacing and longest > 5 * LETTER_PX
    step = max(1, math.ceil((14 if rotated else longest + 4) / spacing))
    for name, x_px in list(zip(names, positions, strict=True))[::step]:
        horizontal = f'x="{x_px:.1f}" y="{base}" text-anchor="middle"'
        slanted = f'transform="translate({x_px + 4:.1f} {base - 3}) rotate(-35)" text-anchor="end"'
        body += f"<text {slanted if rotated else horizontal}>{escape(name)}</text>"
    extra_height = max(longest * 0.6 - HEIGHT + BOTTOM + 14, 0) if rotated else 0.0
    if axis.title:
        extra_height += 14 if rotated else 0
        body += (
            f'<text class="label" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 4 + extra_height:.1f}" text-anchor="middle">'
            f"{escape(axis.title)}</text>"
        )
    return body, extra_height


class Point(NamedTuple):
    """One point; ``color`` is a CSS variable of the page."""

    x: float
    y: float
    color: str
    hollow: bool
    tooltip: str


def scatter(points: Sequence[Point], title: str) -> Markup:
    """Points in the plane, as of a t-SNE embedding, whose axes mean nothing."""
    x = Scale(*span([point.x for point in points], 0.03), 2, SCATTER_PX - 2)
    y = Scale(*span([point.y for point in points], 0.03), SCATTER_PX - 2, 2)
    body = f'<rect class="field" x="0.5" y="0.5" width="{SCATTER_PX - 1}" height="{SCATTER_PX - 1}"/>'
    for point in sorted(points, key=lambda point: point.hollow):
        css_class, style = ("ring", "stroke") if point.hollow else ("dot", "fill")
        body += circle(x(point.x), y(point.y), 2.6, f"{style}:var(--{point.color})", point.tooltip, css_class)
    return svg(body, title, SCATTER_PX, SCATTER_PX)


def reliability_diagram(bins: Sequence[dict[str, Any]], color: str, title: str) -> Markup:
    """Accuracy over confidence in bins, the darker the more samples; a calibrated model is on the diagonal.

    Each of ``bins`` has ``low``, ``high``, ``count``, ``confidence`` and ``accuracy`` (None where empty).
    """
    x, y = Scale(0, 1, LEFT, RIGHT), Scale(0, 1, BOTTOM, TOP)
    quarters = [0, 0.25, 0.5, 0.75, 1]
    body = frame(x, y, quarters, quarters, "confidence", "accuracy", percent, percent)
    largest = max((each["count"] for each in bins), default=1) or 1
    total = sum(each["count"] for each in bins) or 1
    for each in bins:
        if not each["count"]:
            continue
        left, width = x(each["low"]) + 1, x(each["high"]) - x(each["low"]) - 2
        top, opacity = y(each["accuracy"]), 0.3 + 0.7 * each["count"] / largest
        tooltip = (
            f"confidence {each['low']:.2f} to {each['high']:.2f}: {each['count']} samples "
            f"({100 * each['count'] / total:.1f} %), mean confidence {each['confidence']:.3f}, "
            f"accuracy {each['accuracy']:.3f}"
        )
        body += (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(y(0) - top, 0.5):.1f}" '
            f'style="fill:var(--{color});fill-opacity:{opacity:.2f}"><title>{tooltip}</title></rect>'
            f'<circle class="mean" cx="{x(each["confidence"]):.1f}" cy="{top:.1f}" r="2"/>'
        )
    body += f'<line class="diagonal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
    return svg(body, title)
