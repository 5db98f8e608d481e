"""A chain of models of falling size between teacher and student: ``kd.assistants``."""

from distill.config.schema import TrainConfig
from distill.training.flows.base import Flow, ModelConfig


class Assistants(Flow):
    """Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant", arXiv:1902.03393."""

    key = "assistants"
    empty = "a chain needs at least one assistant between teacher and student: kd.assistants=[resnet14]"

    def students(self, cfg: TrainConfig) -> list[ModelConfig]:
        nodes = enumerate(cfg.kd.assistants)
        return [ModelConfig(f"assistant_{i + 1}", f"kd.assistants.{i}", node, cfg.seed) for i, node in nodes]
