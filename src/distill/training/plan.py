"""The objects of one run: models, recipes, and the trainings that follow one another."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from torch import nn

from distill.data import DataModule
from distill.distillation.criterion import Criterion
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachePlan
from distill.distillation.teacher_store import TeacherSource
from distill.training.optimization import OptimizerFactory
from distill.training.schedulers import SchedulerFactory


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
        role: under which the summary shows the student: "student", "assistant_1", "generation_1".
        student: the model that is trained, and becomes the next stage's teacher.
        recipe: how, its criterion included.
        folder: where its checkpoints and weights go.
        max_epochs: of the main phase (shares of a pretraining stage are shares of it).
        peers: students that learn along with it from each other (deep mutual learning); then there is no teacher.
        mutual: their criteria, see ``MutualDistiller``.
        cache: how its teachers' answers are kept; None: they are not.
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
    peers: tuple[NamedModel, ...] = ()
    mutual: tuple[tuple[Criterion, ...], ...] = ()
    cache: CachePlan | None = None
    int8: bool = False
    precision: Any = "32-true"
    answers_in: Callable[[nn.Module], Any] = lambda _: None
    compiled: tuple[bool, bool] = (False, False)
    cuda_graph: bool = False
    prefetch: bool = False


@dataclass(frozen=True)
class Experiment:
    """All objects of one run. Without stages, only the teachers are trained; without teachers, only the student."""

    folder: Path
    teachers: tuple[tuple[NamedModel, TeacherSource], ...]
    combine: Callable[[list[Teacher]], Teacher | Ensemble]
    stages: tuple[TrainingStage, ...]
    data: DataModule
    seed: int
    make_evaluator: Callable[[], L.Trainer]
    config: Any
    resume: str | None
    precision: str
