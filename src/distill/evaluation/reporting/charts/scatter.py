"""A map of points."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from distill.evaluation.reporting.charts.axes import Scale, span, svg

SIDE = 360


class Point(NamedTuple):
    """One point: its place, its colour, whether it is drawn hollow, what is said of it."""

    x: float
    y: float
    tone: str
    hollow: bool
    said: str


def scatter(points: Sequence[Point], title: str) -> Markup:
    """Points in the plane without axes, as maps of embeddings have none."""
    x = Scale(*span([point.x for point in points], 0.03), 2, SIDE - 2)
    y = Scale(*span([point.y for point in points], 0.03), SIDE - 2, 2)
    body = f'<rect class="field" x="0.5" y="0.5" width="{SIDE - 1}" height="{SIDE - 1}"/>'
    for point in sorted(points, key=lambda point: point.hollow):
        kind, style = ("ring", "stroke") if point.hollow else ("dot", "fill")
        body += (
            f'<circle class="{kind}" cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="2.6" '
            f'style="{style}:var(--{point.tone})"><title>{escape(point.said)}</title></circle>'
        )
    return svg(body, title, SIDE, SIDE)
