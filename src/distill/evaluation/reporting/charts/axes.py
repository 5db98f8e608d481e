"""What charts with two axes share: scales, round ticks, the frame."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 34


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels.

    Args:
        low: the value at ``start``.
        high: the value at ``end``; where it equals ``low``, everything lies in the middle.
        start: pixels.
        end: pixels.

    Example:
        >>> Scale(0, 10, 100, 200)(5)
        150.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixels of a value."""
        share = (value - self.low) / (self.high - self.low) if self.high != self.low else 0.5
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between two values, about so many.

    Example:
        >>> ticks(0.03, 0.97)
        [0.2, 0.4, 0.6, 0.8]
    """
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def plain(value: float) -> str:
    """A tick's label.

    Example:
        >>> plain(0.5), plain(1200.0), plain(3.0)
        ('0.5', '1.2k', '3')
    """
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def percent(value: float) -> str:
    """A share as a tick's label.

    Example:
        >>> percent(0.25)
        '25 %'
    """
    return f"{100 * value:g} %"


def span(values: Iterable[float], margin: float = 0.05) -> tuple[float, float]:
    """The ends of the finite values, with a margin as a share of their distance; (0, 1) where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def frame(x: Scale, y: Scale, x_ticks: list[float], y_ticks: list[float], x_label: str, y_label: str,
          x_form: Callable[[float], str] = plain, y_form: Callable[[float], str] = plain) -> str:  # fmt: skip
    """Grid lines, tick labels and axis titles as SVG."""
    parts = []
    for value in y_ticks:
        at = f"{y(value):.1f}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at}" dy=".32em" text-anchor="end">{escape(y_form(value))}</text>')
    for value in x_ticks:
        at = f"{x(value):.1f}"
        parts.append(f'<text x="{at}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{escape(x_form(value))}</text>')
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    parts.append(
        f'<text class="label" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    if y_label:
        middle = (TOP + base) / 2
        parts.append(
            f'<text class="label" transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">'
            f"{escape(y_label)}</text>"
        )
    return "".join(parts)


def svg(body: str, title: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """A chart that fills its column; ``title`` is what a screen reader says."""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )
