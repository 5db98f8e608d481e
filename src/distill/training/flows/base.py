"""What a flow is: who teaches whom in a run.

Torch is not imported here, nor by the flows at their top: they check a configuration before anything heavy loads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from distill.config.schema import KDConfig, Node, TrainConfig

if TYPE_CHECKING:
    from distill.distillation.criterion import Criterion
    from distill.distillation.ensemble import Ensemble
    from distill.distillation.model_info import NamedModel
    from distill.distillation.teacher import Teacher
    from distill.training.plan import ModuleFactory

    Combine = Callable[[list[Teacher]], Teacher | Ensemble]

SEED_STEP = 1000  # between the seeds of the several students of one run


@dataclass(frozen=True)
class ModelConfig:
    """A model of a run before it is built.

    Attributes:
        role: under which the summary shows it: "teacher_2", "assistant_1", "student", "peer_1".
        key: dotted key of its node, for error messages.
        node: ``_target_`` and arguments; of a teacher also ``checkpoint`` and ``recipe``.
        seed: of its initialisation.
    """

    role: str
    key: str
    node: Node
    seed: int


class Criteria(Protocol):
    """Makes the criteria of a stage."""

    def new(self) -> Criterion:
        """The criterion that ``kd`` describes, not yet built."""

    def fit(self, criterion: Criterion, student: NamedModel, teacher: NamedModel | None, role: str) -> None:
        """Builds a criterion for two models and tries it on a few samples."""


class Flow:
    """Plain distillation: one teacher, one student. Other flows override the hooks in which they differ.

    Several flows may be used in one run (an ensemble teaches a chain); each hook is asked of all of them.

    Attributes:
        key: the key of ``kd`` that switches the flow on.
        empty: what the flow needs, for the error message of an empty list under that key.
        has_teacher: whether students learn from a teacher that is trained before them.
    """

    key: ClassVar[str] = "flow"
    empty: ClassVar[str] = ""
    has_teacher: ClassVar[bool] = True

    def is_used(self, kd: KDConfig) -> bool:
        """Whether a configuration asks for the flow."""
        return bool(getattr(kd, self.key))

    def check(self, cfg: TrainConfig) -> None:
        """A UserError for values that the flow cannot work with."""

    def check_criterion(self, criterion: Criterion) -> None:
        """A UserError for a criterion from which the flow's students would learn nothing."""

    def teachers(self, cfg: TrainConfig) -> list[ModelConfig]:
        """Teachers beside the main one, all of which teach the first student."""
        return []

    def combine(self, cfg: TrainConfig, teachers: int) -> Combine | None:
        """Makes one teacher of that many; None: the flow does not do so."""
        return None

    def students(self, cfg: TrainConfig) -> list[ModelConfig]:
        """Students that are trained before the run's student, one after the other; each teaches the next."""
        return []

    def peers(self, cfg: TrainConfig) -> list[ModelConfig]:
        """Students that are trained in one stage with the run's student."""
        return []

    def make_module(self, criteria: Criteria, models: list[NamedModel], criterion: Criterion) -> ModuleFactory | None:
        """What makes the LightningModule of a stage with peers; None: the flow has none.

        Args:
            criteria: makes the criteria of every pair that learns.
            models: the student and its peers.
            criterion: the stage's own, not yet built.
        """
        return None
