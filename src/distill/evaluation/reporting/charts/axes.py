"""What charts with two axes share: scales, round ticks, the frame, SVG elements."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 46, WIDTH - 10, 10, HEIGHT - 34  # edges of the plot area, pixels


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] to pixels [start, end]; where ``low == high``, everything lies in the middle.

    Example:
        >>> Scale(0, 10, 100, 200)(5)
        150.0
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high != self.low else 0.5
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten apart) between two values.

    Example:
        >>> ticks(0.03, 0.97)
        [0.2, 0.4, 0.6, 0.8]
    """
    if not high > low:
        return [low]
    min_step = (high - low) / count
    power = 10 ** math.floor(math.log10(min_step))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= min_step * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def plain(value: float) -> str:
    """A tick's label: ``"0.5"``, ``"3"``, ``"1.2k"``."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"


def percent(value: float) -> str:
    """A share as a tick's label: ``"25 %"``."""
    return f"{100 * value:g} %"


def span(values: Iterable[float], margin: float = 0.05) -> tuple[float, float]:
    """The range of the finite values, with a margin as a share of its length; (0, 1) where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    padding = (high - low) * margin or abs(high) * margin or 1.0
    return low - padding, high + padding


def robust_range(values: Iterable[float], reach: float = 4.0) -> tuple[float, float]:
    """The range of values without low outliers: its lower end is at most ``reach`` times (max − median) below max.

    Example:
        >>> robust_range([0.1, 0.94, 0.95, 0.96, 0.97])
        (0.89, 0.97)
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return 0.0, 1.0
    low, median, high = finite[0], finite[len(finite) // 2], finite[-1]
    return (round(max(low, high - reach * (high - median)), 9), high) if high > median else (low, high)


@dataclass(frozen=True)
class Axis:
    """An axis from ``low`` to ``high`` with ticks (value, label)."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    title: str = ""
    log: bool = False

    @classmethod
    def of(cls, values: Sequence[float], title: str = "") -> "Axis":
        """A numeric axis; logarithmic where the values are positive and span more than a factor of 30."""
        if values and min(values) > 0 and max(values) / min(values) > 30:
            low, high = (math.exp(end) for end in span([math.log(value) for value in values], 0.04))
            exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            powers = [10.0**exponent for exponent in exponents if low <= 10.0**exponent <= high] or [low, high]
            step = math.ceil(len(powers) / 6)
            return cls(low, high, [(power, f"{power:g}") for power in powers[::step]], title, log=True)
        low, high = span(values, 0.04)
        return cls(low, high, [(tick, plain(tick)) for tick in ticks(low, high)], title)

    @classmethod
    def categorical(cls, names: Sequence[str]) -> "Axis":
        """An axis of names at 0, 1, 2, ..."""
        return cls(-0.5, len(names) - 0.5, list(enumerate(names)))

    def scale(self, start: float, end: float) -> Callable[[float], float]:
        """The map from values to pixels."""
        if not self.log:
            return Scale(self.low, self.high, start, end)
        log_scale = Scale(math.log(self.low), math.log(self.high), start, end)
        return lambda value: log_scale(math.log(value))


def percent_axis(low: float, high: float) -> Axis:
    """An axis of shares, in percent, with a margin."""
    low, high = span([low, high], 0.06)
    low, high = max(low, 0.0), max(min(high, 1.0), 1e-9)
    return Axis(low, high, [(tick, percent(round(tick, 6))) for tick in ticks(low, high)])


def y_grid(y: Callable[[float], float], y_ticks: Iterable[tuple[float, str]]) -> str:
    """Grid lines with their labels, as SVG."""
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{y(value):.1f}" dy=".32em" text-anchor="end">{escape(label)}</text>'
        for value, label in y_ticks
    )


def axis_lines(x_title: str, y_title: str) -> str:
    """The x axis and the titles of both, as SVG."""
    y_title_svg = (
        f'<text class="label" transform="translate(10 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_title)}</text>"
    )
    return (
        f'<line class="axis" x1="{LEFT}" x2="{RIGHT}" y1="{BOTTOM}" y2="{BOTTOM}"/>'
        f'<text class="label" x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_title)}</text>'
        f"{y_title_svg if y_title else ''}"
    )


def frame(x: Scale, y: Scale, x_ticks: list[float], y_ticks: list[float], x_title: str, y_title: str,
          x_format: Callable[[float], str] = plain, y_format: Callable[[float], str] = plain) -> str:  # fmt: skip
    """Grid lines, tick labels and axis titles as SVG."""
    x_labels = "".join(
        f'<text x="{x(value):.1f}" y="{BOTTOM + 14}" text-anchor="middle">{escape(x_format(value))}</text>'
        for value in x_ticks
    )
    return y_grid(y, ((value, y_format(value)) for value in y_ticks)) + x_labels + axis_lines(x_title, y_title)


def circle(x: float, y: float, radius: float, style: str, tooltip: str, css_class: str = "") -> str:
    """A point of a chart as SVG."""
    attribute = f'class="{css_class}" ' if css_class else ""
    return (
        f'<circle {attribute}cx="{x:.1f}" cy="{y:.1f}" r="{radius}" style="{style}">'
        f"<title>{escape(tooltip)}</title></circle>"
    )


def svg(body: str, title: str, width: float = WIDTH, height: float = HEIGHT) -> Markup:
    """A chart that fills its column; ``title`` is its label for screen readers."""
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )
