"""Points over an axis of numbers or names, with means and levels to compare them with."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
    Scale,
    frame,
    percent,
    plain,
    span,
    svg,
    ticks,
)

LETTER = 6.0  # pixels of a letter of a tick's label


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high`` with labels at some values.

    Args:
        low: its start.
        high: its end.
        ticks: (value, label).
        label: its title.
        log: whether equal ratios are equally far apart.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str = ""
    log: bool = False

    @classmethod
    def of(cls, values: Iterable[float], label: str = "", form: Callable[[float], str] = plain) -> "Axis":
        """An axis that shows numbers; logarithmic where they are positive and span more than a factor of 30."""
        known = list(values)
        if known and min(known) > 0 and max(known) / min(known) > 30:
            low, high = (math.exp(end) for end in span([math.log(value) for value in known], 0.04))
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            marks = [10.0**power for power in powers if low <= 10.0**power <= high] or [low, high]
            every = math.ceil(len(marks) / 6)
            return cls(low, high, [(mark, f"{mark:g}") for mark in marks[::every]], label, log=True)
        low, high = span(known, 0.04)
        return cls(low, high, [(mark, form(mark)) for mark in ticks(low, high)], label)

    @classmethod
    def named(cls, names: Sequence[str], label: str = "") -> "Axis":
        """An axis of names at 0, 1, 2, ..."""
        return cls(-0.5, len(names) - 0.5, list(enumerate(names)), label)

    def scale(self, start: float, end: float) -> Callable[[float], float]:
        """Pixels of a value."""
        if not self.log:
            return Scale(self.low, self.high, start, end)
        inner = Scale(math.log(self.low), math.log(self.high), start, end)
        return lambda value: inner(math.log(value))


class Dot(NamedTuple):
    """One point: its place, its colour (of CSS), what is said of it, whether it is outlined."""

    x: float
    y: float
    colour: str
    said: str
    marked: bool = False


class Mean(NamedTuple):
    """A mean with its standard deviation (0: none is drawn)."""

    x: float
    y: float
    std: float
    said: str


class Level(NamedTuple):
    """A dashed line across: its name, its value, a colour of the page."""

    name: str
    value: float
    tone: str


def dots(
    points: Sequence[Dot],
    title: str,
    x: Axis,
    y: Axis,
    means: Sequence[Mean] = (),
    levels: Sequence[Level] = (),
    joined: bool = False,
) -> Markup:
    """Points, means with whiskers, and levels; what lies outside is drawn hollow at the edge.

    Args:
        points: drawn small.
        title: for a screen reader.
        x: its axis; labels too long to stand side by side are turned.
        y: likewise; labels as given.
        means: drawn large.
        levels: to compare with.
        joined: whether a line joins the means.
    """
    across, up = x.scale(LEFT + 4, WIDTH - RIGHT), y.scale(HEIGHT - BOTTOM, TOP)
    bare_x, bare_y = Scale(0, 1, LEFT, WIDTH - RIGHT), Scale(0, 1, 0, 1)
    body = frame(bare_x, bare_y, [], [], "", y.label)
    for value, label in y.ticks:
        at = f"{up(value):.1f}"
        body += f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
        body += f'<text x="{LEFT - 5}" y="{at}" dy=".32em" text-anchor="end">{escape(label)}</text>'
    under, depth = _labels(x, across)
    body += under
    for level in levels:
        if y.low <= level.value <= y.high:
            at = f"{up(level.value):.1f}"
            body += (
                f'<line class="level" style="stroke:var(--{level.tone})" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" '
                f'y2="{at}"><title>{escape(level.name)}</title></line>'
            )
    for point in points:
        inside = y.low <= point.y <= y.high
        height = up(min(max(point.y, y.low), y.high))
        kind = f"fill:{point.colour}" if inside else f"stroke:{point.colour}"
        body += (
            f'<circle class="{"marked" if point.marked else "dot" if inside else "ring"}" cx="{across(point.x):.1f}" '
            f'cy="{height:.1f}" r="{5 if point.marked else 3}" '
            f'style="{kind}"><title>{escape(point.said)}</title></circle>'
        )
    body += _means(means, across, up, y, joined)
    return svg(body, title, WIDTH, HEIGHT + depth)


def _means(
    means: Sequence[Mean], across: Callable[[float], float], up: Callable[[float], float], y: Axis, joined: bool
) -> str:
    seen = [mean for mean in means if y.low <= mean.y <= y.high]
    path = " ".join(f"{across(mean.x):.1f},{up(mean.y):.1f}" for mean in seen)
    body = f'<polyline class="joined" points="{path}"/>' if joined and len(seen) > 1 else ""
    for mean in seen:
        at, low, high = across(mean.x), max(mean.y - mean.std, y.low), min(mean.y + mean.std, y.high)
        if mean.std:
            body += f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{up(low):.1f}" y2="{up(high):.1f}"/>'
        body += (
            f'<rect class="middle" x="{at - 4.5:.1f}" y="{up(mean.y) - 4.5:.1f}" width="9" height="9" rx="2">'
            f"<title>{escape(mean.said)}</title></rect>"
        )
    return body


def _labels(x: Axis, across: Callable[[float], float]) -> tuple[str, float]:
    """The labels under the axis, and how much more height than usual they take."""
    names = [label if len(label) <= 18 else f"{label[:17]}…" for _, label in x.ticks]
    places = [across(value) for value, _ in x.ticks]
    room = min((b - a for a, b in pairwise(places)), default=WIDTH - LEFT - RIGHT)
    longest = max(map(len, names), default=0) * LETTER
    base, body = HEIGHT - BOTTOM + 14, ""
    turned = longest > room and longest > 5 * LETTER
    every = math.ceil((14 if turned else longest + 4) / room) if room < (14 if turned else longest + 4) else 1
    for name, at in list(zip(names, places, strict=True))[::every]:
        straight = f'x="{at:.1f}" y="{base}" text-anchor="middle"'
        slanted = f'transform="translate({at + 4:.1f} {base - 3}) rotate(-35)" text-anchor="end"'
        body += f"<text {slanted if turned else straight}>{escape(name)}</text>"
    depth = max(longest * 0.6 - BOTTOM + 14, 0) if turned else 0.0
    if x.label:
        depth += 14 if turned else 0
        body += (
            f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4 + depth:.1f}" text-anchor="middle">'
            f"{escape(x.label)}</text>"
        )
    return body, depth


def robust(values: Iterable[float], reach: float = 4.0) -> tuple[float, float]:
    """The ends of values of which few lie far below the others: not further down than ``reach`` times the distance
    from the largest to the median.

    Example:
        >>> robust([0.1, 0.94, 0.95, 0.96, 0.97])
        (0.89, 0.97)
    """
    known = sorted(value for value in values if math.isfinite(value))
    if not known:
        return 0.0, 1.0
    low, middle, high = known[0], known[len(known) // 2], known[-1]
    return (round(max(low, high - reach * (high - middle)), 9), high) if high > middle else (low, high)


def shares(low: float, high: float, label: str = "") -> Axis:
    """An axis of shares, in percent, with a margin."""
    low, high = span([low, high], 0.06)
    low, high = max(low, 0.0), max(min(high, 1.0), 1e-9)
    return Axis(low, high, [(mark, percent(round(mark, 6))) for mark in ticks(low, high)], label)
