"""What a task is: how a model's output is supervised, measured and scored."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Score:
    """The metric by which models are chosen and compared.

    Attributes:
        metric: its name in the task's metrics, without the split.
        direction: whether larger or smaller is better.
    """

    metric: str
    direction: Literal["max", "min"]


class Task(Protocol):
    """A strategy object: what criterion, LightningModule and model builders need to know of the kind of prediction.

    Attributes:
        score: the metric that chooses.
    """

    score: Score

    @staticmethod
    def supervised_loss(logits: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """The loss of a model's output against the labels, a mean over the batch."""

    @staticmethod
    def model_arguments(data: Any) -> dict[str, Any]:
        """Arguments of a model's constructor that depend on the data."""

    def metrics(self, with_agreement: bool) -> nn.Module:
        """Metrics of one split: ``update(student, teacher, target)``, and ``compute()`` to values by name.

        Args:
            with_agreement: also measure how often the student predicts as its teacher.
        """
