"""The objects of one run: models, recipes, and the trainings that follow one another."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
from torch import nn

from distill.config.schema import TrainConfig
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachePlan
from distill.distillation.teacher_store import TeacherSource
from distill.training.module import DistillationModule
from distill.training.optimization import OptimizerFactory
from distill.training.schedulers import SchedulerFactory

ModuleFactory = Callable[["TrainingStage", Teacher | Ensemble | None], DistillationModule]


@dataclass(frozen=True)
class Recipe:
    """How one model is trained.

    ``make_trainer(folder, label)`` gives the Trainer; ``strategy`` is that of several processes.
    """

    data: DataModule
    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None
    make_trainer: Callable[..., L.Trainer]
    criterion: Criterion
    seed: int
    strategy: str = "ddp"


@dataclass(frozen=True)
class TrainingStage:
    """One training under one teacher (or one ensemble, or each other); stages follow one another as a chain.

    Attributes:
        role: under which the summary shows the model: "teacher", "student", "assistant_1", "generation_1".
        student: the model that is trained, and becomes the next stage's teacher.
        recipe: how, its criterion included.
        folder: where its checkpoints and weights go.
        max_epochs: of the main phase (shares of a pretraining stage are shares of it).
        make_module: makes the LightningModule from the stage and its teacher.
        teachers: the models that teach it; none: it learns from labels, or from its peers.
        combine: makes the stage's teacher of them.
        peers: students that learn along with it from each other (deep mutual learning).
        cache: how its teachers' outputs are kept; None: they are not.
        int8: whether the student computes as in int8 while it is trained.
        precision: in which it is trained.
        answers_in: the precision in which a model answers as its teacher.
        compiled: whether the student is, and its teacher.
        cuda_graph: whether its steps are captured as CUDA graphs, where ``supports_cuda_graph``.
        prefetch: whether its teacher then computes the next batch beside the student's step.
    """

    role: str
    student: NamedModel
    recipe: Recipe
    folder: Path
    max_epochs: int
    make_module: ModuleFactory
    teachers: tuple[NamedModel, ...] = ()
    combine: Callable[[list[Teacher]], Teacher | Ensemble] = lambda members: members[0]
    peers: tuple[NamedModel, ...] = ()
    cache: CachePlan | None = None
    int8: bool = False
    precision: Any = "32-true"
    answers_in: Callable[[nn.Module], Any] = lambda _: None
    compiled: tuple[bool, bool] = (False, False)
    cuda_graph: bool = False
    prefetch: bool = False

    @property
    def label(self) -> str:
        """What is trained, for the terminal: "assistant 1 resnet14"."""
        return f"{self.role.replace('_', ' ')} {self.student.name}"


class PlannedTeacher(NamedTuple):
    """A teacher of a run: the model, where its weights come from, and the training that makes them if need be."""

    model: NamedModel
    source: TeacherSource
    stage: TrainingStage


@dataclass(frozen=True)
class Experiment:
    """All objects of one run. Without stages, only the teachers are trained; without teachers, only the student.

    Attributes:
        config: the composed configuration in YAML's own types, for the summary.
        settings: the same, typed.
    """

    folder: Path
    teachers: tuple[PlannedTeacher, ...]
    stages: tuple[TrainingStage, ...]
    data: DataModule
    seed: int
    make_evaluator: Callable[[], L.Trainer]
    config: Any
    settings: TrainConfig
    resume: str | None
    precision: str
