"""Generations of the same student, each taught by the one before: ``kd.generations``."""

from distill.config.schema import KDConfig, TrainConfig
from distill.config.validation import in_range
from distill.training.flows.base import Flow, ModelConfig


class BornAgain(Flow):
    """Furlanello et al. 2018, "Born-Again Neural Networks", arXiv:1805.04770."""

    key = "generations"

    def is_used(self, kd: KDConfig) -> bool:
        return kd.generations != 1

    def check(self, cfg: TrainConfig) -> None:
        in_range(cfg, "kd.generations", 1)

    def students(self, cfg: TrainConfig) -> list[ModelConfig]:
        numbers = range(1, cfg.kd.generations)  # the last generation is the run's student
        return [ModelConfig(f"generation_{i}", "model", cfg.model, cfg.seed) for i in numbers]
