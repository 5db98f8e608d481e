"""Pages that work from disk: charts as SVG and HTML without scripts, and the shell around them."""

from distill.evaluation.reporting.charts.bars import Bar, bars
from distill.evaluation.reporting.charts.cells import Cell, cells
from distill.evaluation.reporting.charts.colours import scale, viridis
from distill.evaluation.reporting.charts.dots import Axis, Dot, Level, Mean, dots, robust, shares
from distill.evaluation.reporting.charts.heatmap import heatmap
from distill.evaluation.reporting.charts.images import data_uri
from distill.evaluation.reporting.charts.lines import Line, legend, lines
from distill.evaluation.reporting.charts.reliability import reliability_diagram
from distill.evaluation.reporting.charts.scatter import Point, scatter
from distill.evaluation.reporting.charts.shell import Figure, render

__all__ = [
    "Axis",
    "Bar",
    "Cell",
    "Dot",
    "Figure",
    "Level",
    "Line",
    "Mean",
    "Point",
    "bars",
    "cells",
    "data_uri",
    "dots",
    "heatmap",
    "legend",
    "lines",
    "reliability_diagram",
    "render",
    "robust",
    "scale",
    "scatter",
    "shares",
    "viridis",
]
