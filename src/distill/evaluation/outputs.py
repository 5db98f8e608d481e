"""Evaluation of models whose outputs are labels or numbers: scores, comparison, one sample."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from distill.evaluation.results import MetricComparison, MetricScores
from distill.tasks.base import Task


def scores(task: Task, output: Tensor, target: Tensor) -> MetricScores:
    """The task's metrics of outputs (N, C), and those of each single output and type of entity."""
    return MetricScores(task.measure(output, target), task.by_output(output, target), task.by_entity(output, target))


def compare(task: Task, student: Tensor, other: Tensor, target: Tensor) -> MetricComparison:
    """How far a student's outputs (N, C) are another model's: the metrics that a task has for that."""
    measured = task.measure(student, target, teacher=other)
    names = [metric.name for metric in task.info.metrics if metric.needs_teacher]
    return MetricComparison({name: measured[name] for name in names if name in measured})


def described(values: Mapping[str, Any]) -> str:
    """What is predicted, in a line: the labels, or each number by its name.

    Example:
        >>> described({"labels": ["red"], "red": 0.9, "bright": 0.1}), described({"age": 31.26})
        ('red', 'age 31.26')
    """
    if "tags" in values:
        return " ".join(values["tags"])
    if "labels" in values:
        return ", ".join(values["labels"]) or "none"
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def true_values(task: Task, target: Tensor, names: Sequence[str]) -> str:
    """The target of one sample, as :func:`described` shows predictions."""
    values = task.target_values(target, names)
    if task.targets == "multilabel":
        return described({"labels": [name for name, value in values.items() if value]})
    return described(values)
