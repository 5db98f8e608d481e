"""Points over a numeric or categorical axis, with means and reference levels."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    axis_lines,
    circle,
    svg,
    y_grid,
)

LETTER_PX = 6.0  # width of a letter of a tick's label


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
