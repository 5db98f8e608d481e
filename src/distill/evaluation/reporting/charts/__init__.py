"""Charts as SVG and HTML without scripts, for pages that open from disk."""

from distill.evaluation.reporting.charts.axes import Axis, percent_axis, robust_range
from distill.evaluation.reporting.charts.heatmaps import Bar, Cell, bars, color_bar, heatmap, heatmap_table, viridis
from distill.evaluation.reporting.charts.images import data_uri
from distill.evaluation.reporting.charts.plots import (
    Dot,
    Level,
    Line,
    Mean,
    Point,
    dot_plot,
    legend,
    lines,
    reliability_diagram,
    scatter,
)  # fmt: skip
from distill.evaluation.reporting.charts.rendering import Figure, render

__all__ = [
    "Axis", "Bar", "Cell", "Dot", "Figure", "Level", "Line", "Mean", "Point", "bars", "color_bar", "data_uri",
    "dot_plot", "heatmap", "heatmap_table", "legend", "lines", "percent_axis", "reliability_diagram", "render",
    "robust_range", "scatter", "viridis",
]  # fmt: skip
