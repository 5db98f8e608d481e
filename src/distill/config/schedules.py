"""Schedules: a weight, T or α that follows the epochs. (For learning rates: ``distill.schedulers``.)"""

import math
from dataclasses import dataclass
from typing import Any

from distill.utils.errors import UserError, nearest

ARGUMENTS = {
    "constant": ("value",),
    "warmup": ("value", "epochs"),
    "linear": ("start", "end", "epochs"),
    "cosine": ("start", "end", "epochs"),
}


@dataclass(frozen=True)
class Schedule:
    """A number over the epochs.

    ``constant``: value. ``warmup``: value · min(1, e / epochs) in the e-th epoch, counted from 1. ``linear`` and
    ``cosine``: start in the first epoch, end in epoch number ``epochs`` and from there on, between them on a line or
    half a cosine.

    Attributes:
        kind: one of the four.
        start: first value (``warmup``: 0, which no epoch has).
        end: last value.
        epochs: a whole number of epochs; below 1: that share of the run; None: the whole run.
    """

    kind: str
    start: float
    end: float
    epochs: float | None = None

    def at(self, epoch: int, max_epochs: int) -> float:
        """The value in ``epoch``, counted from 0, of a run of ``max_epochs``.

        Example:
            >>> [Schedule("warmup", 0, 1.0, 4).at(epoch, 10) for epoch in range(5)]
            [0.25, 0.5, 0.75, 1.0, 1.0]
        """
        span = count(self.epochs, max_epochs)
        if self.kind == "warmup":
            return self.end * min(1.0, (epoch + 1) / span)
        share = min(1.0, epoch / (span - 1)) if span > 1 else 1.0
        if self.kind == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        return self.start + (self.end - self.start) * share


def count(epochs: float | None, max_epochs: int) -> int:
    """``epochs`` as a number of epochs, at least 1: below 1 it is a share of ``max_epochs``, None is all of them."""
    if epochs is None:
        return max(1, max_epochs)
    return max(1, round(epochs * max_epochs)) if epochs < 1 else int(epochs)


def check_epochs(value: Any, key: str) -> None:
    """A UserError unless ``value`` is a whole number of at least 1, or a share of the run between 0 and 1."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (0 < value < 1 or (value >= 1 and value == int(value))):
        raise UserError(f"{key} must be a whole number of epochs, or a share of the run between 0 and 1, got {value!r}")


def is_schedule(value: Any) -> bool:
    """Whether a configured value is a schedule."""
    return isinstance(value, dict) and "schedule" in value


def parse(value: Any, key: str) -> Schedule:
    """A schedule, or a plain number as a constant one.

    Args:
        value: a number or ``{schedule: <kind>, ...}``.
        key: its dotted key, for error messages.

    Raises:
        UserError: neither; an unknown kind; arguments that are missing, unknown or no finite numbers.
    """
    node = value if isinstance(value, dict) else {"schedule": "constant", "value": value}
    kind = node.get("schedule")
    if kind not in ARGUMENTS:
        raise UserError(
            f"{key} must be a number or a schedule ({{schedule: linear, start: 0, end: 1, epochs: 20}}), got {value!r}"
            if "schedule" not in node
            else f"{key}.schedule={kind} is unknown; {nearest(str(kind), ARGUMENTS)}"
        )
    for name in node:
        if name != "schedule" and name not in ARGUMENTS[kind]:
            raise UserError(f"{key}: schedule {kind} takes no '{name}'; {nearest(name, ARGUMENTS[kind])}")
    for name in ARGUMENTS[kind]:
        number = node.get(name)
        if name == "epochs":
            if number is not None:
                check_epochs(number, f"{key}.epochs")
        elif not isinstance(number, (int, float)) or isinstance(number, bool) or not math.isfinite(number):
            where = key if kind == "constant" else f"{key}.{name}"
            raise UserError(f"{where} must be a finite number, got {number!r}")
    end = float(node["value"] if "value" in node else node["end"])
    start = float(node["start"]) if "start" in node else 0.0 if kind == "warmup" else end
    return Schedule(kind, start, end, node.get("epochs"))
