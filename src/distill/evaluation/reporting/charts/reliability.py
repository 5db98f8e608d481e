"""A reliability diagram."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from distill.evaluation.reporting.charts.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Scale, frame, percent, svg


def reliability_diagram(bins: Sequence[dict[str, Any]], tone: str, title: str) -> Markup:
    """Accuracy over confidence in bins; on the diagonal a model is as often right as it says.

    Bars are the accuracy of a bin, ticks under the axis the share of all samples in it (darker: more).

    Args:
        bins: each with ``low``, ``high``, ``count``, ``confidence`` and ``accuracy`` (None where empty).
        tone: the colour of the bars.
        title: for a screen reader.
    """
    x = Scale(0, 1, LEFT, WIDTH - RIGHT)
    y = Scale(0, 1, HEIGHT - BOTTOM, TOP)
    marks = [0, 0.25, 0.5, 0.75, 1]
    body = frame(x, y, marks, marks, "confidence", "accuracy", percent, percent)
    most = max((each["count"] for each in bins), default=1) or 1
    total = sum(each["count"] for each in bins) or 1
    for each in bins:
        if not each["count"]:
            continue
        left, width = x(each["low"]) + 1, x(each["high"]) - x(each["low"]) - 2
        top, opacity = y(each["accuracy"]), 0.3 + 0.7 * each["count"] / most
        said = (
            f"confidence {each['low']:.2f} to {each['high']:.2f}: {each['count']} samples "
            f"({100 * each['count'] / total:.1f} %), mean confidence {each['confidence']:.3f}, "
            f"accuracy {each['accuracy']:.3f}"
        )
        body += (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{max(y(0) - top, 0.5):.1f}" '
            f'style="fill:var(--{tone});fill-opacity:{opacity:.2f}"><title>{said}</title></rect>'
        )
        body += f'<circle class="mean" cx="{x(each["confidence"]):.1f}" cy="{top:.1f}" r="2"/>'
    body += f'<line class="diagonal" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
    return svg(body, title)
