"""A reliability diagram."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from distill.evaluation.reporting.charts.axes import BOTTOM, LEFT, RIGHT, TOP, Scale, frame, percent, svg


def reliability_diagram(bins: Sequence[dict[str, Any]], color: str, title: str) -> Markup:
    """Accuracy over confidence in bins, the darker the more samples; a calibrated model is on the diagonal.

    Args:
        bins: each with ``low``, ``high``, ``count``, ``confidence`` and ``accuracy`` (None where empty).
        color: of the bars.
        title: for a screen reader.
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
