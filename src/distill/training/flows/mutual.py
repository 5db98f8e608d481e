"""Students that teach each other in one training: ``kd.peers``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from distill.config.schema import KDConfig, TrainConfig
from distill.training.flows.base import SEED_STEP, Criteria, Flow, ModelConfig
from distill.training.roles import STUDENT, Role, RoleKind
from distill.utils.errors import UserError
from distill.utils.processes import count

if TYPE_CHECKING:
    from distill.distillation.criterion import Criterion
    from distill.distillation.model_info import NamedModel
    from distill.training.module import DistillationModule
    from distill.training.plan import ModuleFactory, TrainingStage


class Mutual(Flow):
    """Zhang et al. 2018; see ``distill.training.mutual``."""

    key = "peers"
    empty = "mutual learning needs at least two students, one beside the main one: kd.peers=[resnet14]"
    has_teacher = False
    excludes = "students that teach each other need no teacher"

    def describe(self, kd: KDConfig) -> str:
        return f"{len(kd.peers) + 1} students"

    def check(self, cfg: TrainConfig) -> None:
        if cfg.compile is True:
            raise UserError(
                "compile=true cannot be combined with kd.peers: students that teach each other; leave compile=auto"
            )
        if cfg.trainer.strategy == "fsdp" and count(cfg.trainer.devices) * cfg.trainer.num_nodes > 1:
            raise UserError(
                "trainer.strategy=fsdp cannot be combined with students that teach each other; trainer=ddp can"
            )
        if cfg.quantize is not None:
            raise UserError("kd.peers and quantize cannot be combined: only a student with a teacher learns int8")
        if cfg.kd.student_wrapper:
            raise UserError(f"kd.peers and kd.student_wrapper cannot be combined: {self.excludes}")

    def peers(self, cfg: TrainConfig) -> list[ModelConfig]:
        return [
            ModelConfig(Role(RoleKind.PEER, i), f"kd.peers.{i - 1}", node, cfg.seed + SEED_STEP * i)
            for i, node in enumerate(cfg.kd.peers, 1)
        ]

    def make_module(self, criteria: Criteria, models: list[NamedModel], criterion: Criterion) -> ModuleFactory | None:
        """A criterion for every ordered pair of students; ``criterion`` is that of the first pair."""
        from distill.losses.protocols import Calibrated

        rows: list[tuple[Criterion, ...]] = []
        for i, student in enumerate(models):
            row: list[Criterion] = []
            for other in models:
                if other is not student:
                    pair = criteria.new() if i or row else criterion
                    criteria.fit(pair, student, other, Role(RoleKind.PEER, i) if i else STUDENT)
                    row.append(pair)
            rows.append(tuple(row))
        for term in criterion.terms:
            if term.pretraining or isinstance(term.loss, Calibrated):
                raise UserError(
                    f"term '{term.name}' needs a finished teacher, and in mutual learning (kd.peers) there is none"
                )
        return partial(_module, rows=tuple(rows))


def _module(stage: TrainingStage, _teacher: Any, rows: tuple[tuple[Criterion, ...], ...]) -> DistillationModule:
    from distill.training.fit import module_settings
    from distill.training.mutual import MutualDistillationModule

    criterion, models = stage.criterion, (stage.student, *stage.peers)
    embedded = any(criterion.reads(f"{side}_embedding") for side in ("student", "teacher"))
    heads = [net.model_info.head if embedded else None for net in models]
    return MutualDistillationModule([net.model for net in models], rows, heads, **module_settings(stage))
