"""What the results of a task are called, and which of them chooses. Nothing heavy is imported."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from distill.utils.units import percent


@dataclass(frozen=True)
class Metric:
    """One metric of a task.

    Attributes:
        name: under which it is logged (``val/<name>``) and recorded.
        label: how tables and pages call it.
        direction: whether larger or smaller is better.
        unit: "share": in [0, 1], shown in percent; "number": shown with four digits.
        needs_teacher: whether it compares a student with its teacher, and not with the labels.
    """

    name: str
    label: str
    direction: Literal["max", "min"] = "max"
    unit: Literal["share", "number"] = "share"
    needs_teacher: bool = False

    def display(self, value: float | None) -> str:
        """A value as tables show it; "" for None."""
        if self.unit == "share" or value is None:
            return percent(value)
        return f"{value:.4g}"

    @property
    def word(self) -> str:
        """How a sentence calls it."""
        return "accuracy" if self.name == "acc" else self.label

    def number(self, value: float) -> str:
        """A value without its unit: of a share in percent."""
        return f"{100 * value:.2f}" if self.unit == "share" else f"{value:.4g}"

    def relative(self, value: float, other: float) -> float:
        """What share of another value's quality a value has: the other by the value where smaller is better."""
        return value / (other or 1e-12) if self.direction == "max" else other / (value or 1e-12)

    def difference(self, value: float, other: float) -> str:
        """``value − other`` with its sign, of shares in percentage points."""
        return f"{100 * (value - other):+.2f} points" if self.unit == "share" else f"{value - other:+.4g}"

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another; every number is better than NaN."""
        if math.isnan(value) or math.isnan(other):
            return math.isnan(other) and not math.isnan(value)
        return value > other if self.direction == "max" else value < other


@dataclass(frozen=True)
class TaskInfo:
    """A task as results, tables and sweeps know it.

    Attributes:
        name: the option of the group ``task``.
        score: the name of the metric by which models are chosen and compared.
        metrics: all of them, in the order of the tables.
        has_classes: whether every sample has one class, so that there are confusions and calibration to look at.
    """

    name: str
    score: str
    metrics: tuple[Metric, ...]
    has_classes: bool = False

    @property
    def chooses(self) -> Metric:
        """The metric that ``score`` names."""
        return next(metric for metric in self.metrics if metric.name == self.score)

    @property
    def against_labels(self) -> Metric:
        """The score, or the first metric that needs no teacher where the score does."""
        metrics = (self.chooses, *self.metrics)
        return next((metric for metric in metrics if not metric.needs_teacher), self.chooses)

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> "TaskInfo":
        """Of ``summary.json``.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        info = cls(**{**node, "metrics": tuple(Metric(**metric) for metric in node["metrics"])})
        if info.score not in {metric.name for metric in info.metrics}:
            raise ValueError(f"its task has no metric {info.score!r}")
        return info


AGREEMENT = Metric("agreement", "agreement with the teacher", needs_teacher=True)
CLASSIFICATION = TaskInfo(
    "classification", "acc", (Metric("acc", "top-1"), Metric("top5", "top-5"), AGREEMENT), has_classes=True
)
