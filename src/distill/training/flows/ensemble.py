"""An ensemble of teachers: the main one and ``kd.teachers``, combined by ``kd.ensemble``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.config.schema import KDConfig, TrainConfig
from distill.config.weights_files import check_checkpoint
from distill.training.flows.base import Flow, ModelConfig
from distill.training.roles import Role, RoleKind
from distill.utils.errors import UserError, nearest

if TYPE_CHECKING:
    from distill.distillation.criterion import Criterion
    from distill.tasks.base import Task
    from distill.training.flows.base import Combine


class Ensemble(Flow):
    """You et al. 2017; see ``distill.distillation.ensemble``."""

    key = "teachers"
    empty = "several teachers need at least one beside the main one: kd.teachers=[resnet14]"
    trains_students = False

    def describe(self, kd: KDConfig) -> str:
        return f"{len(kd.teachers) + 1} teachers"

    def check(self, cfg: TrainConfig) -> None:
        for i, teacher in enumerate(cfg.kd.teachers):
            check_checkpoint(teacher.get("checkpoint"), f"kd.teachers.{i}.checkpoint")
            for key in teacher.get("recipe") or {}:
                if key not in cfg.teacher["recipe"]:
                    raise UserError(f"kd.teachers.{i}.recipe has no '{key}'; {nearest(key, cfg.teacher['recipe'])}")

    def check_criterion(self, criterion: Criterion) -> None:
        task = criterion.task
        if task is not None and not task.has_classifier:
            raise UserError(f"kd.teachers combines predictions, and task={task.info.name} has none: one teacher")
        if not (criterion.reads("teacher_logits") or criterion.reads("teacher_output")):
            raise UserError("kd.teachers needs a term that reads the teacher's outputs: only these are combined")

    def teachers(self, cfg: TrainConfig) -> list[ModelConfig]:
        """The teachers of ``kd.teachers``; their recipes override the main teacher's."""
        teachers = []
        for i, node in enumerate(cfg.kd.teachers):
            recipe = {**cfg.teacher["recipe"], **(node.get("recipe") or {})}
            full = {"checkpoint": None, **node, "recipe": recipe}
            teachers.append(ModelConfig(Role(RoleKind.TEACHER, i + 2), f"kd.teachers.{i}", full, recipe["seed"]))
        return teachers

    def combine(self, cfg: TrainConfig, teachers: int, task: Task) -> Combine | None:
        if teachers < 2:
            return None
        if task.output == "causal":
            raise UserError(
                f"kd.teachers: task={task.info.name} takes one teacher, as hidden states cannot be averaged"
            )
        if not cfg.kd.ensemble:
            raise UserError("kd.teachers names several teachers, and kd.ensemble does not say how they are combined")
        from distill.distillation import ensemble
        from distill.training.builder import build_scheduled

        mean, schedules = build_scheduled(cfg.kd.ensemble, "kd.ensemble", cfg.trainer.max_epochs)
        if hasattr(mean, "check"):
            mean.check(teachers)
        if not task.has_distributions and not getattr(mean, "takes_numbers", False):
            raise UserError(
                f"kd.ensemble: {type(mean).__name__} combines distributions over classes, and task={task.info.name} "
                "has none: kd.ensemble._target_=distill.ensemble.WeightedMean"
            )
        return lambda members: members[0] if len(members) == 1 else ensemble.Ensemble(members, mean, task, schedules)
