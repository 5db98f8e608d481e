"""Pages that work from disk: charts as SVG and HTML without scripts, and the shell around them."""

from distill.report.bars import Bar, bars
from distill.report.cells import Cell, cells
from distill.report.colours import scale, viridis
from distill.report.dots import Axis, Dot, Level, Mean, dots, robust, shares
from distill.report.heatmap import heatmap
from distill.report.images import data_uri
from distill.report.lines import Line, legend, lines
from distill.report.reliability import reliability_diagram
from distill.report.scatter import Point, scatter
from distill.report.shell import Figure, render

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
