"""A line chart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Scale,
    circle,
    frame,
    percent,
    plain,
    span,
    svg,
    ticks,
)


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: in the legend.
        points: (x, y), in the order of x.
        color: a CSS variable of the page: "student", "teacher", "alone", "other", or "k0" ... "k9".
        dashed: drawn dashed.
        thin: without marks, and thin and pale unless dashed: one of many.
    """

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    dashed: bool = False
    thin: bool = False


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
