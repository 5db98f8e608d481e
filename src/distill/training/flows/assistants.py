"""A chain of models of falling size between teacher and student: ``kd.assistants``."""

from distill.config.schema import KDConfig, TrainConfig
from distill.training.flows.base import Flow, ModelConfig
from distill.training.roles import Role, RoleKind


class Assistants(Flow):
    """Mirzadeh et al. 2020, "Improved Knowledge Distillation via Teacher Assistant", arXiv:1902.03393."""

    key = "assistants"
    empty = "a chain needs at least one assistant between teacher and student: kd.assistants=[resnet14]"

    def describe(self, kd: KDConfig) -> str:
        return f"{len(kd.assistants)} assistants"

    def students(self, cfg: TrainConfig) -> list[ModelConfig]:
        return [
            ModelConfig(Role(RoleKind.ASSISTANT, i + 1), f"kd.assistants.{i}", node, cfg.seed)
            for i, node in enumerate(cfg.kd.assistants)
        ]
