"""Generations of the same student, each taught by the one before: ``kd.generations``."""

from distill.config.schema import KDConfig, TrainConfig
from distill.training.flows.base import Flow, ModelConfig
from distill.training.roles import Role, RoleKind
from distill.utils.errors import check_range


class BornAgain(Flow):
    """Furlanello et al. 2018, "Born-Again Neural Networks", arXiv:1805.04770."""

    key = "generations"

    def is_used(self, kd: KDConfig) -> bool:
        return kd.generations != 1

    def describe(self, kd: KDConfig) -> str:
        return f"{kd.generations} generations"

    def check(self, cfg: TrainConfig) -> None:
        check_range("kd.generations", cfg.kd.generations, 1)

    def students(self, cfg: TrainConfig) -> list[ModelConfig]:
        numbers = range(1, cfg.kd.generations)  # the last generation is the run's student
        return [ModelConfig(Role(RoleKind.GENERATION, i), "model", cfg.model, cfg.seed) for i in numbers]
