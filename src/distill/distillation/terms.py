"""One named term of the loss: what it reads, its weight and its layers."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from distill.config.schedules import Schedule
from distill.losses.protocols import AcceptsSoftTargets, Pretrainable, SoftTarget
from distill.utils.errors import UserError, nearest

READS = (
    "student_logits",
    "teacher_logits",
    "student_embedding",
    "teacher_embedding",
    "student_feature",
    "teacher_feature",
    "student_features",
    "teacher_features",
    "student_preactivations",
    "teacher_preactivations",
    "target",
    "index",
)
TAKEN = ("loss", "hard", "total", "acc", "top5", "agreement")


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
    ``student_features`` is the list of all of them, ``student_preactivations`` what comes before each one's last
    activation. ``distill.losses.protocols`` lists what a loss may define besides ``forward``.

    Args:
        name: under which it is logged.
        loss: a module or a plain function.
        weight: ≥ 0, or its schedule. A term that reads ``teacher_logits`` (or whose loss has the attribute
            ``is_soft_target``) is part of L_soft and is weighed by (1 − α) as well.
        student: the student's layers: a stage's number, a module path, or a list of these; None on both sides: all
            matching stages, see ``distill.distillation.stage_matching``.
        teacher: the teacher's layers, as many.
        standardize: z-score the logits first (LSKD); of no effect on a term that reads none.
        pretraining: its first phase, if it has one.
        schedules: of the loss's arguments, by name.
    """

    name: str
    loss: Callable[..., Tensor]
    weight: float | Schedule = 1.0
    student: Any = None
    teacher: Any = None
    standardize: bool = False
    pretraining: Pretraining | None = None
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    reads: tuple[str, ...] = field(init=False)
    pretraining_reads: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in TAKEN or hasattr(nn.ModuleDict, self.name):
            raise UserError(
                f"'{self.name}' cannot name a term of the loss: it must be an identifier that is not in use"
            )
        self.reads = self._read_by(self.loss.forward if isinstance(self.loss, nn.Module) else self.loss)
        self.pretraining_reads = self.reads
        if isinstance(self.loss, Pretrainable):
            self.pretraining_reads = self._read_by(self.loss.pretraining_loss)
        if isinstance(self.loss, Pretrainable) and self.pretraining is None:
            raise UserError(
                f"term '{self.name}' needs a first phase: kd.terms.{self.name}.pretraining={{epochs: 0.125}}"
            )
        ends = (self.weight.start, self.weight.end) if isinstance(self.weight, Schedule) else (self.weight,)
        for weight in ends:
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
    def required(self) -> frozenset[str]:
        """What it cannot do without: what it reads but for parameters with a default."""
        functions = [self.loss.forward if isinstance(self.loss, nn.Module) else self.loss]
        functions += [self.loss.pretraining_loss] if isinstance(self.loss, Pretrainable) else []
        parameters = [item for f in functions for item in inspect.signature(f).parameters.values()]
        return frozenset(p.name for p in parameters if p.name in READS and p.default is p.empty)

    @property
    def all_reads(self) -> frozenset[str]:
        """What it reads in any phase."""
        return frozenset((*self.reads, *(self.pretraining_reads if self.pretraining else ())))

    @property
    def is_soft_target(self) -> bool:
        """Whether the term is part of L_soft."""
        return "teacher_logits" in self.reads or (isinstance(self.loss, SoftTarget) and self.loss.is_soft_target)

    @property
    def accepts_soft_targets(self) -> bool:
        """Whether ``target`` may be shares (N, C) instead of labels."""
        return isinstance(self.loss, AcceptsSoftTargets) and self.loss.soft_targets

    @property
    def needs_teacher(self) -> bool:
        """Whether it reads anything of a teacher."""
        return any(name.startswith("teacher_") for name in self.all_reads)

    def preactivated(self, side: str) -> bool:
        """Whether the layers of one side, "student" or "teacher", are read before their last activation."""
        return f"{side}_preactivations" in self.all_reads

    @property
    def uses_features(self) -> bool:
        """Whether the term reads inner layers."""
        return any("_feature" in name or "_preactivations" in name for name in self.all_reads)

    @property
    def pairwise(self) -> bool:
        """Whether the term is a sum over pairs of layers."""
        return "student_feature" in self.reads or "teacher_feature" in self.reads

    @property
    def is_inactive(self) -> bool:
        """Whether the main phase has no use for the term: its weight is 0 throughout."""
        ends = (self.weight.start, self.weight.end) if isinstance(self.weight, Schedule) else (self.weight,)
        return not any(ends)


class Function(nn.Module):
    """A plain function (or a ``functools.partial`` of one) as a module without parameters."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, **values: Any) -> Tensor:
        """The function's value."""
        return self.function(**values)
