"""Numbers of the criterion that change from epoch to epoch: α, weights and arguments of losses."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from distill.config.schedules import Schedule
from distill.distillation.terms import Function, Term
from distill.losses.protocols import FixedArguments
from distill.utils.errors import UserError


class EpochSchedules:
    """Schedules by name, each with a function that applies its value.

    Attributes:
        values: the present value of every schedule; empty before the first epoch.
    """

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self._schedules: list[tuple[str, Schedule, Callable[[float], None]]] = []

    def add(self, name: str, schedule: Schedule, apply: Callable[[float], None]) -> None:
        """Let ``apply`` receive the schedule's value in every epoch."""
        self._schedules.append((name, schedule, apply))

    def add_arguments(self, term: Term, loss: nn.Module) -> None:
        """Schedule a loss's arguments: attributes of a module, keywords of a partial function.

        Raises:
            UserError: an argument that is fixed, or that the loss does not keep as a number.
        """
        if isinstance(loss, Function) and term.schedules:
            loss.function = functools.partial(loss.function)  # keywords not shared with other criteria
        for argument, schedule in term.schedules.items():
            key = f"kd.terms.{term.name}.loss.{argument}"
            if isinstance(loss, FixedArguments) and argument in loss.fixed:
                raise UserError(f"{key} cannot follow a schedule: it is set once, when the loss is built")
            value, apply = _keyword(loss, argument) if isinstance(loss, Function) else _attribute(loss, argument)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise UserError(f"{key} cannot follow a schedule: the loss keeps no such number")
            self.add(f"{term.name}.{argument}", schedule, apply)

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Apply every schedule's value in ``epoch``, counted from 0."""
        for name, schedule, apply in self._schedules:
            self.values[name] = value = schedule.at(epoch, max_epochs)
            apply(value)


def _attribute(loss: nn.Module, argument: str) -> tuple[Any, Callable[[float], None]]:
    """Present value and setter of a module's argument."""
    value = getattr(loss, argument, None) if argument in inspect.signature(type(loss)).parameters else None
    return value, functools.partial(setattr, loss, argument)


def _keyword(loss: Function, argument: str) -> tuple[Any, Callable[[float], None]]:
    """Present value and setter of a partial function's argument."""
    function: Any = loss.function
    parameter = inspect.signature(function.func).parameters.get(argument)
    value = function.keywords.get(argument, parameter.default if parameter else None)
    return value, functools.partial(_set_keyword, loss, argument)


def _set_keyword(loss: Function, argument: str, value: float) -> None:
    function: Any = loss.function
    function.keywords[argument] = value
