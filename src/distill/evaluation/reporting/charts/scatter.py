"""A scatter plot without axes."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from distill.evaluation.reporting.charts.axes import Scale, circle, span, svg

SIDE = 360


class Point(NamedTuple):
    """One point; ``color`` is a CSS variable of the page."""

    x: float
    y: float
    color: str
    hollow: bool
    tooltip: str


def scatter(points: Sequence[Point], title: str) -> Markup:
    """Points in the plane, as of a t-SNE embedding, whose axes mean nothing."""
    x = Scale(*span([point.x for point in points], 0.03), 2, SIDE - 2)
    y = Scale(*span([point.y for point in points], 0.03), SIDE - 2, 2)
    body = f'<rect class="field" x="0.5" y="0.5" width="{SIDE - 1}" height="{SIDE - 1}"/>'
    for point in sorted(points, key=lambda point: point.hollow):
        css_class, style = ("ring", "stroke") if point.hollow else ("dot", "fill")
        body += circle(x(point.x), y(point.y), 2.6, f"{style}:var(--{point.color})", point.tooltip, css_class)
    return svg(body, title, SIDE, SIDE)
