"""Objects from a configuration: data, models, criteria, recipes.

These functions parse and construct. They seed nothing, print nothing and join no process group: the steps of
``distill.training.prepare`` do. Further inside, everything takes objects.
"""

from distill.training.builder.criterion import build_criterion, build_scheduled, fit_criterion, layer_lines
from distill.training.builder.data import load_data
from distill.training.builder.models import build_model, wrap_student
from distill.training.builder.recipes import build_optimization

__all__ = [
    "build_criterion",
    "build_model",
    "build_optimization",
    "build_scheduled",
    "fit_criterion",
    "layer_lines",
    "load_data",
    "wrap_student",
]
