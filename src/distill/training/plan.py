"""The objects of one run: its models, and the trainings that follow one another."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from torch import nn

from distill.config.schema import Node, TrainConfig
from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachePlan
from distill.distillation.teacher_store import TeacherSource
from distill.tasks.base import Task
from distill.training.module import DistillationModule
from distill.training.optimization import OptimizerFactory
from distill.training.roles import Role
from distill.training.schedulers import SchedulerFactory

ModuleFactory = Callable[["TrainingStage", Teacher | None], DistillationModule]


@dataclass(frozen=True, kw_only=True)
class TrainingStage:
    """One training under one teacher (or one ensemble, or each other); stages follow one another as a chain.

    Attributes:
        role: under which the summary shows the model.
        student: the model that is trained, and becomes the next stage's teacher.
        data, criterion, optimizer, scheduler, seed: how it is trained.
        make_trainer: ``make_trainer(folder, label, module, **changes)``, see ``trainer_factory``.
        make_module: makes the LightningModule from the stage and its teacher.
        task: what is predicted.
        folder: of its checkpoints and weights.
        max_epochs: of the main phase (shares of a pretraining stage are shares of it).
        source: of a teacher, where its weights come from.
        teachers: the models that teach it; none: it learns from labels, or from its peers.
        combine: makes the stage's teacher of them.
        peers: students that learn along with it from each other (deep mutual learning).
        cache: how its teachers' outputs are cached; None: they are not.
        int8: whether the student is trained with fake quantization to int8.
        precision: of the training.
        teacher_precision: from a frozen model to the precision of its forward.
        compiled: whether the student is, and its teacher.
        cuda_graph: whether its steps are captured as CUDA graphs, where ``supports_cuda_graph``.
        prefetch: whether its teacher then computes the next batch beside the student's step.
    """

    role: Role
    student: NamedModel
    data: DataModule[Any]
    criterion: Criterion
    optimizer: OptimizerFactory
    scheduler: SchedulerFactory | None
    seed: int
    make_trainer: Callable[..., L.Trainer]
    make_module: ModuleFactory
    task: Task
    folder: Path
    max_epochs: int
    source: TeacherSource | None = None
    teachers: tuple[NamedModel, ...] = ()
    combine: Callable[[list[Teacher]], Teacher] = lambda members: members[0]
    peers: tuple[NamedModel, ...] = ()
    cache: CachePlan | None = None
    int8: bool = False
    precision: Any = "32-true"
    teacher_precision: Callable[[nn.Module], Any] = lambda _: None
    compiled: tuple[bool, bool] = (False, False)
    cuda_graph: bool = False
    prefetch: bool = False

    @property
    def label(self) -> str:
        """What is trained, for the terminal: "assistant 1 resnet14"."""
        return f"{self.role.label} {self.student.name}"


@dataclass(frozen=True)
class Experiment:
    """All objects of one run. Without stages, only the teachers are trained; without teachers, only the student.

    Attributes:
        teachers: the stages that train the teachers, where their weights are not there yet.
        stages: the trainings of the students.
        config: the composed configuration in YAML's own types, for the summary.
        settings: the same, typed.
    """

    folder: Path
    teachers: tuple[TrainingStage, ...]
    stages: tuple[TrainingStage, ...]
    data: DataModule[Any]
    make_evaluator: Callable[[], L.Trainer]
    config: Node
    settings: TrainConfig
    precision: str
    task: Task
