"""Charts as SVG and HTML without scripts, for pages that open from disk."""

from distill.evaluation.reporting.charts.axes import Axis, percent_axis, robust_range
from distill.evaluation.reporting.charts.bars import Bar, bars
from distill.evaluation.reporting.charts.colormap import color_bar, viridis
from distill.evaluation.reporting.charts.dot_plot import Dot, Level, Mean, dot_plot
from distill.evaluation.reporting.charts.heatmap import heatmap
from distill.evaluation.reporting.charts.heatmap_table import Cell, heatmap_table
from distill.evaluation.reporting.charts.images import data_uri
from distill.evaluation.reporting.charts.lines import Line, legend, lines
from distill.evaluation.reporting.charts.reliability import reliability_diagram
from distill.evaluation.reporting.charts.rendering import Figure, render
from distill.evaluation.reporting.charts.scatter import Point, scatter

__all__ = [
    "Axis", "Bar", "Cell", "Dot", "Figure", "Level", "Line", "Mean", "Point", "bars", "color_bar", "data_uri",
    "dot_plot", "heatmap", "heatmap_table", "legend", "lines", "percent_axis", "reliability_diagram", "render",
    "robust_range", "scatter", "viridis",
]  # fmt: skip
