"""A line chart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
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
        tone: a colour of the page: "student", "teacher", "alone", "other", or "k0" ... "k9".
        dashed: whether it is.
        thin: without marks, and thin and pale unless dashed: one of many.
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: str
    dashed: bool = False
    thin: bool = False


def legend(entries: Sequence[tuple[str, str, str]]) -> Markup:
    """Names with their colours: (name, tone, kind of mark: "", "dashed" or "spot")."""
    items = "".join(
        f'<span><i class="key {kind}" style="--tone:var(--{tone})"></i>{escape(name)}</span>'
        for name, tone, kind in entries
    )
    return Markup(f'<p class="legend">{items}</p>')


def lines(
    series: Sequence[Line], title: str, x_label: str = "epoch", share: bool = False, floor: float | None = None
) -> Markup:
    """A line chart.

    Args:
        series: the lines; those without points are left out.
        title: for a screen reader.
        x_label: of the x axis, whose ticks are whole numbers.
        share: whether the values are shares, shown in percent.
        floor: lines are drawn from this value up; None: whole.
    """
    if floor is not None:
        series = [replace(line, points=_above(line.points, floor)) for line in series]
    series = [line for line in series if line.points]
    xs = [x for line in series for x, _ in line.points]
    low, high = span([y for line in series for _, y in line.points])
    low = low if floor is None else floor
    if share:
        low, high = max(low, 0.0), min(high, 1.0) if high > 0.9 else high
    x = Scale(min(xs, default=0), max(xs, default=1), LEFT + 6, WIDTH - RIGHT - 6)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP)
    whole = [tick for tick in ticks(x.low, x.high, 6) if tick == round(tick)] or [x.low]
    body = frame(x, y, whole, ticks(low, high), x_label, "", y_form=percent if share else plain)
    for line in series:
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        path = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
        kind = "line thin" if line.thin and not line.dashed else "line"
        body += f'<polyline class="{kind}" style="stroke:var(--{line.tone})" points="{path}"{dash}/>'
        dots = line.points if len(line.points) <= 40 else line.points[-1:]
        dots = [] if line.thin else dots
        for a, b in dots:
            said = f"{line.name}, {x_label} {a:g}: {percent(round(b, 4)) if share else f'{b:.4g}'}"
            body += (
                f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.6" style="fill:var(--{line.tone})">'
                f"<title>{escape(said)}</title></circle>"
            )
    return svg(body, title)


def _above(points: Sequence[tuple[float, float]], floor: float) -> list[tuple[float, float]]:
    """The part of a line from where it first reaches a value; later dips end on it."""
    first = next((i for i, (_, y) in enumerate(points) if y >= floor), len(points))
    kept = [(x, max(y, floor)) for x, y in points[first:]]
    if 0 < first < len(points):
        (x0, y0), (x1, y1) = points[first - 1], points[first]
        kept.insert(0, (x0 + (x1 - x0) * (floor - y0) / (y1 - y0), floor))
    return kept
