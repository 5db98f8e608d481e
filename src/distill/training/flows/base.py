"""The base class of flows: who teaches whom in a run.

Flows do not import torch at module level: they check a configuration before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from distill.config.schema import KDConfig, Node, TrainConfig
from distill.training.roles import Role
from distill.utils.errors import UserError

if TYPE_CHECKING:
    from distill.distillation.criterion import Criterion
    from distill.distillation.model_info import NamedModel
    from distill.distillation.teacher import Teacher
    from distill.tasks.base import Task
    from distill.training.plan import ModuleFactory

    Combine = Callable[[list[Teacher]], Teacher]

SEED_STEP = 1000  # between the seeds of the several students of one run


@dataclass(frozen=True)
class ModelConfig:
    """The configuration of one model.

    Attributes:
        role: under which the summary shows the model.
        key: dotted key of ``node``, for error messages.
        node: ``_target_`` and arguments; of a teacher also ``checkpoint`` and ``recipe``.
        seed: of the initialisation.
    """

    role: Role
    key: str
    node: Node
    seed: int

    def __post_init__(self) -> None:
        if not isinstance(self.role, Role):  # in a user's flow
            raise UserError(f"{self.key}: a flow gives a model the role {self.role!r}, not a Role(RoleKind.…, number)")


class Criteria(Protocol):
    """Makes the criteria of a stage."""

    def new(self) -> Criterion:
        """The criterion that ``kd`` describes, not yet built."""

    def fit(self, criterion: Criterion, student: NamedModel, teacher: NamedModel | None, role: Role) -> None:
        """Builds a criterion for two models and tries it on a few samples."""


class Flow:
    """Plain distillation: one teacher, one student. Other flows override the hooks in which they differ.

    Several flows can be combined in one run (an ensemble teaches a chain); each hook is called on all of them.

    Attributes:
        key: the key of ``kd`` that enables the flow.
        empty: the error message for an empty list under that key.
        has_teacher: whether students learn from a teacher that is trained before them.
        trains_students: whether other students are trained before the run's student, or with it.
        excludes: why the flow cannot be combined with another one; empty: it can.
    """

    key: ClassVar[str] = "flow"
    empty: ClassVar[str] = ""
    has_teacher: ClassVar[bool] = True
    trains_students: ClassVar[bool] = True
    excludes: ClassVar[str] = ""

    def is_used(self, kd: KDConfig) -> bool:
        return bool(getattr(kd, self.key))

    def describe(self, kd: KDConfig) -> str:
        """The flow in two words, for tables of runs: "2 assistants"."""
        return str(kd.flow["_target_"]).rpartition(".")[2]

    def check(self, cfg: TrainConfig) -> None:
        """Raises a UserError for values that the flow does not support."""

    def check_criterion(self, criterion: Criterion) -> None:
        """Raises a UserError for a criterion from which the flow's students would not learn."""

    def teachers(self, cfg: TrainConfig) -> list[ModelConfig]:
        """Additional teachers; all of them teach the first student."""
        return []

    def combine(self, cfg: TrainConfig, teachers: int, task: Task) -> Combine | None:
        """A function that combines that many teachers of a task into one; None: not in this flow."""
        return None

    def students(self, cfg: TrainConfig) -> list[ModelConfig]:
        """Students trained before the run's student, one after the other; each teaches the next."""
        return []

    def peers(self, cfg: TrainConfig) -> list[ModelConfig]:
        """Students trained jointly with the run's student."""
        return []

    def make_module(self, criteria: Criteria, models: list[NamedModel], criterion: Criterion) -> ModuleFactory | None:
        """A factory for the LightningModule of a stage with peers; None: the flow has none.

        Args:
            criteria: makes the criterion of each pair.
            models: the student and its peers.
            criterion: of the first pair, not yet built.
        """
        return None
