"""One named term of the loss: what it reads, its weight and its layers."""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from distill.config.schedules import Schedule
from distill.losses.protocols import AcceptsSoftTargets, FixedArguments, Pretrainable, SoftTarget
from distill.utils.errors import UserError, nearest

OUTPUTS = ("logits", "output", "embedding", "feature", "features", "preactivations", "attention")  # of either model
READS = (*(f"{side}_{o}" for o in OUTPUTS for side in ("student", "teacher")), "target", "index", "attention_mask")
FROM_LAYERS = ("feature", "features", "preactivations", "attention")
TAKEN = ("loss", "hard", "total")

Layers = int | str | list[int | str] | tuple[int | str, ...] | None


def end_values(value: float | Schedule) -> tuple[float, ...]:
    """A schedule's first and last value, or the number itself."""
    return (value.start, value.end) if isinstance(value, Schedule) else (value,)


@dataclass(frozen=True)
class Pretraining:
    """A first phase in which one term alone is trained (FSP, AB, FT's paraphraser).

    Attributes:
        epochs: a whole number, or a share of ``trainer.max_epochs`` below 1.
        weight: of the term in that phase.
    """

    epochs: float
    weight: float = 1.0


@dataclass
class Term:
    """One named term of the loss.

    The parameter names of its ``forward`` are what it reads (see ``READS``): ``student_feature`` is one
    layer's output and the term is the sum over the pairs of layers (each pair with its own copy of the loss);
    ``student_logits`` are rows of a distribution as the task sees them, ``student_output`` is what the model returned,
    ``student_features`` is the list of all layers, ``student_preactivations`` what comes before each one's last
    activation. Of texts, features are hidden states (N, L, D); ``student_attention`` is the list [query, key, value] of
    one layer's projections, each (N, L, D), before heads are split, and ``attention_mask``, int64 (N, L), is 1 at the
    student's tokens and 0 at padding (None for images). ``distill.losses.protocols`` lists what a loss may define
    besides ``forward``.

    Args:
        name: under which it is logged.
        loss: a module or a plain function.
        weight: ≥ 0, or its schedule. A term that reads ``teacher_logits`` or ``teacher_output`` (or whose loss has the
            attribute ``is_soft_target``) is part of L_soft and is weighed by (1 − α) as well.
        student: the student's layers: a stage's number, a module path, or a list of these; None on both sides: all
            matching stages, see ``distill.distillation.stage_matching``.
        teacher: the teacher's layers, as many.
        standardize: z-score the logits first (LSKD); of no effect on a term that reads none.
        pretraining: its first phase, if it has one.
        schedules: of the loss's arguments, by name.

    Attributes:
        reads: what its main phase reads.
        pretraining_reads: what its pretraining reads.
        all_reads: what it reads in any phase.
        required: of these, what it cannot do without (a parameter without default).
    """

    name: str
    loss: Callable[..., Tensor]
    weight: float | Schedule = 1.0
    student: Layers = None
    teacher: Layers = None
    standardize: bool = False
    pretraining: Pretraining | None = None
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    reads: tuple[str, ...] = field(init=False)
    pretraining_reads: tuple[str, ...] = field(init=False)
    all_reads: frozenset[str] = field(init=False)
    required: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in TAKEN or hasattr(nn.ModuleDict, self.name):
            raise UserError(
                f"'{self.name}' cannot name a term of the loss: it must be an identifier that is not in use"
            )
        forward = self.loss.forward if isinstance(self.loss, nn.Module) else self.loss
        pretraining_loss = self.loss.pretraining_loss if isinstance(self.loss, Pretrainable) else forward
        self.reads, self.pretraining_reads = self._read_by(forward), self._read_by(pretraining_loss)
        self.all_reads = frozenset((*self.reads, *self.pretraining_reads))
        signatures = (inspect.signature(function) for function in (forward, pretraining_loss))
        parameters = [parameter for signature in signatures for parameter in signature.parameters.values()]
        self.required = frozenset(p.name for p in parameters if p.name in READS and p.default is p.empty)
        if isinstance(self.loss, Pretrainable) and self.pretraining is None:
            raise UserError(
                f"term '{self.name}' needs a first phase: kd.terms.{self.name}.pretraining={{epochs: 0.125}}"
            )
        for weight in end_values(self.weight):
            if not 0 <= weight < float("inf"):
                raise UserError(f"kd.terms.{self.name}.weight must be a finite number of at least 0, got {weight}")

    def _read_by(self, function: Callable[..., Any]) -> tuple[str, ...]:
        parameters = inspect.signature(function).parameters.items()
        names = tuple(n for n, parameter in parameters if n in READS or parameter.default is parameter.empty)
        for name in names:
            if name not in READS:
                raise UserError(
                    f"term '{self.name}': its loss reads '{name}', which is unknown; {nearest(name, READS)}"
                )
        return names

    @property
    def is_soft_target(self) -> bool:
        """Whether the term is part of L_soft."""
        reads = {"teacher_logits", "teacher_output"} & set(self.reads)
        return bool(reads) or (isinstance(self.loss, SoftTarget) and self.loss.is_soft_target)

    @property
    def accepts_soft_targets(self) -> bool:
        """Whether ``target`` may be shares (N, C) instead of labels."""
        return isinstance(self.loss, AcceptsSoftTargets) and self.loss.soft_targets

    @property
    def needs_teacher(self) -> bool:
        """Whether it reads anything of a teacher."""
        return any(name.startswith("teacher_") for name in self.all_reads)

    @property
    def uses_features(self) -> bool:
        """Whether the term reads inner layers."""
        return any(name.partition("_")[2] in FROM_LAYERS for name in self.all_reads)

    @property
    def pairwise(self) -> bool:
        """Whether the term is a sum over pairs of layers."""
        return "student_feature" in self.reads or "teacher_feature" in self.reads

    @property
    def is_inactive(self) -> bool:
        """Whether the main phase has no use for the term: its weight is 0 throughout."""
        return not any(end_values(self.weight))


class Function(nn.Module):
    """A plain function as a module without parameters.

    Attributes:
        function: the function as a ``functools.partial``, whose keywords no other criterion shares.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = functools.partial(function)

    def forward(self, **values: Any) -> Tensor:
        """The function's value."""
        return self.function(**values)


def argument_setter(term: Term, loss: nn.Module, argument: str) -> Callable[[float], None]:
    """A function that sets an argument of a term's loss: an attribute of a module, a keyword of a plain function.

    Raises:
        UserError: an argument that is fixed, or that the loss does not keep as a number.
    """
    key = f"kd.terms.{term.name}.loss.{argument}"
    if isinstance(loss, FixedArguments) and argument in loss.fixed:
        raise UserError(f"{key} cannot follow a schedule: it is set once, when the loss is built")
    value: Any = None
    if isinstance(loss, Function):
        function = loss.function
        parameter = inspect.signature(function.func).parameters.get(argument)
        value = function.keywords.get(argument, parameter.default if parameter else None)
        setter = functools.partial(operator.setitem, function.keywords, argument)
    else:
        value = getattr(loss, argument, None) if argument in inspect.signature(type(loss)).parameters else None
        setter = functools.partial(setattr, loss, argument)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UserError(f"{key} cannot follow a schedule: the loss keeps no such number")
    return setter
