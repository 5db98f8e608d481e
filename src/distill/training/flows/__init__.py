"""Flows: who teaches whom in a run. One file per flow.

A new one is a subclass of ``Flow``, here or elsewhere, that a configuration names in ``kd.flow``; nothing is to be
changed in this file.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from distill.config import validation
from distill.config.default_teacher import starts_from_teacher
from distill.config.instantiate import instantiate
from distill.config.schema import KDConfig, TrainConfig
from distill.training.flows.assistants import Assistants
from distill.training.flows.base import SEED_STEP, Criteria, Flow, ModelConfig
from distill.training.flows.born_again import BornAgain
from distill.training.flows.ensemble import Ensemble
from distill.training.flows.mutual import Mutual
from distill.training.roles import STUDENT, TEACHER, TEACHERS, Role
from distill.utils.errors import UserError

if TYPE_CHECKING:
    from distill.data import DataModule
    from distill.distillation.criterion import Criterion
    from distill.distillation.model_info import NamedModel
    from distill.tasks.base import Task
    from distill.training.flows.base import Combine
    from distill.training.plan import ModuleFactory

__all__ = ["FLOWS", "Criteria", "Flow", "Flows", "ModelConfig", "check", "used_flows"]

FLOWS: tuple[Flow, ...] = (Ensemble(), Assistants(), Mutual(), BornAgain())  # with a key of ``kd`` each


def used_flows(kd: KDConfig) -> list[Flow]:
    """The flows that a configuration uses; ``kd.flow`` is not instantiated, it is a plain ``Flow``."""
    return [*(flow for flow in FLOWS if flow.is_used(kd)), *([Flow()] if kd.flow else [])]


class Flows:
    """The flows of one run, combined."""

    def __init__(self, cfg: TrainConfig) -> None:
        self.cfg = cfg
        self.used = [flow for flow in FLOWS if flow.is_used(cfg.kd)]
        if cfg.kd.flow:
            flow = instantiate({**cfg.kd.flow, "_recursive_": False}, "kd.flow")
            if not isinstance(flow, Flow):
                raise UserError(f"kd.flow: {cfg.kd.flow['_target_']} is no distill.training.flows.Flow")
            self.used.append(flow)

    def check(self) -> None:
        """Checks the configuration; raises a UserError for values that a flow does not support."""
        kd = self.cfg.kd
        for flow in FLOWS:
            if getattr(kd, flow.key) is not None and not getattr(kd, flow.key) and flow.empty:
                raise UserError(f"kd.{flow.key} is empty: {flow.empty}")
        for flow in self.used:
            flow.check(self.cfg)
            other = next((other for other in self.used if other is not flow and other in FLOWS), None)
            if flow.excludes and other:
                raise UserError(f"kd.{flow.key} and kd.{other.key} cannot be combined: {flow.excludes}")
        if self.used and not kd.terms:
            raise UserError(f"kd.{self.used[0].key} needs a term that students learn from; kd.terms is empty")

    def check_criterion(self, criterion: Criterion) -> None:
        """Raises a UserError for a criterion that does not learn from a teacher, if a flow needs one that does."""
        if self.used and not criterion.needs_teacher:
            raise UserError(f"kd.{self.used[0].key} needs a term that learns from a teacher, and none of these does")
        for flow in self.used:
            flow.check_criterion(criterion)

    def check_inputs(self, data: DataModule[Any]) -> None:
        """Raises a UserError for chains and ensembles whose models would be given each other's inputs."""
        several = [flow.key for flow in self.used if flow in FLOWS]
        if several and data.has_other_inputs:
            raise UserError(
                f"kd.{several[0]}: teacher and student have different tokenizers, and its models would need both: "
                "give all of them one tokenizer"
            )
        if several and starts_from_teacher(self.cfg):
            raise UserError(
                f"kd.{several[0]} cannot be combined with model=from_teacher, which starts from one teacher"
            )

    @property
    def has_teacher(self) -> bool:
        return all(flow.has_teacher for flow in self.used)

    def teachers(self) -> list[ModelConfig]:
        """All teachers, the main one first."""
        main = ModelConfig(TEACHER, "teacher", self.cfg.teacher, self.cfg.teacher["recipe"]["seed"])
        return [main, *(model for flow in self.used for model in flow.teachers(self.cfg))]

    def combine(self, teachers: int, task: Task) -> Combine:
        """A function from the teachers of a stage to the one that teaches: the first, or an ensemble."""
        factories = (flow.combine(self.cfg, teachers, task) for flow in self.used)
        return next(filter(None, factories), lambda members: members[0])

    def students(self) -> list[ModelConfig]:
        """The chain of students; the last one is the run's, and starts as it would without the others."""
        cfg = self.cfg
        chain = [model for flow in self.used for model in flow.students(cfg)]
        chain.append(ModelConfig(STUDENT, "model", cfg.model, cfg.seed))
        seeds = [cfg.seed + SEED_STEP * i for i in reversed(range(len(chain)))]
        return [replace(model, seed=seed) for model, seed in zip(chain, seeds, strict=True)]

    def peers(self) -> list[ModelConfig]:
        return [model for flow in self.used for model in flow.peers(self.cfg)]

    def make_module(self, criteria: Criteria, models: list[NamedModel], criterion: Criterion) -> ModuleFactory | None:
        return next(filter(None, (flow.make_module(criteria, models, criterion) for flow in self.used)), None)

    def final_teacher(self, roles: Collection[Role]) -> Role | None:
        """The role of the model that taught the student last; the run's agreement is with it.

        Args:
            roles: of the models that the run has.

        Returns:
            The first peer in mutual learning; else the last model before the student in its chain; else the teacher,
            or ``TEACHERS`` where several were combined; None where the student learnt alone.
        """
        peers, chain = self.peers(), self.students()
        if peers:
            return peers[0].role
        if len(chain) > 1:
            return chain[-2].role
        if TEACHER not in roles:
            return None
        return TEACHERS if len(self.teachers()) > 1 else TEACHER

    def models(self) -> dict[Role, ModelConfig]:
        """All models of the run by role."""
        return {model.role: model for model in (*self.teachers(), *self.students(), *self.peers())}


def check(cfg: TrainConfig) -> None:
    """Checks the values of a configuration, and those that its flows need; does not import torch.

    Raises:
        UserError: the first bad value: its key, the value, what is allowed.
    """
    validation.check(cfg)
    Flows(cfg).check()
