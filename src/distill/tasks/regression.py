"""One or several numbers per sample: outputs (N, K), standardised."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanAbsoluteError, MeanSquaredError, PearsonCorrCoef, R2Score, SpearmanCorrCoef

from distill.losses.checks import upcast
from distill.tasks.base import Targets, Task
from distill.tasks.info import Metric
from distill.tasks.metrics import OutputMetrics
from distill.utils.errors import UserError


class Regression(Task):
    """Regression of K numbers.

    A model predicts (y − mean) / std, each number standardised by the training samples; metrics are in the units of y.
    L_hard is the mean over samples and numbers. An output is no distribution, so logit terms are refused.

    Args:
        num_classes: K.
        target_mean: of the training samples, (K,).
        target_std: likewise, above 0.
        loss: "mse", (ŷ − y)², or "huber", quadratic up to an error of one standard deviation and linear beyond.
        score: the metric that chooses: "rmse", "mae" (smaller is better), "r2", "pearson", "spearman" or
            "teacher_rmse" (distance of student and teacher, in units of y).
    """

    name = "regression"
    metric_infos = (
        Metric("rmse", "RMSE", "min", "number"),
        Metric("mae", "MAE", "min", "number"),
        Metric("r2", "R²", "max", "number"),
        Metric("pearson", "Pearson r", "max", "number"),
        Metric("spearman", "Spearman ρ", "max", "number"),
        Metric("teacher_rmse", "RMSE to the teacher", "min", "number", needs_teacher=True),
    )
    default_score = "rmse"
    targets: ClassVar[Targets] = "numbers"

    def __init__(
        self,
        num_classes: int,
        target_mean: Sequence[float],
        target_std: Sequence[float],
        loss: Literal["mse", "huber"] = "mse",
        score: str | None = None,
    ) -> None:
        super().__init__(num_classes, score)
        if loss not in ("mse", "huber"):
            raise UserError(f"task.loss must be mse or huber, got {loss!r}")
        self.loss = loss
        self._mean, self._std = torch.as_tensor(target_mean), torch.as_tensor(target_std)

    def supervised_loss(self, output: Tensor, target: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """MSE or Huber loss of standardised numbers, in float32.

        Args:
            output: standardised (N, K).
            target: in the units of the data, float32 (N, K).
            label_smoothing: must be 0.
        """
        if label_smoothing:
            raise UserError("kd.label_smoothing is for classes: with task=regression it must be 0")
        target = (target - self._mean.to(target.device)) / self._std.to(target.device)
        return (F.mse_loss if self.loss == "mse" else F.huber_loss)(upcast(output), target)

    def in_units(self, output: Tensor) -> Tensor:
        """Standardised outputs (N, K) in the units of the data."""
        return output * self._std.to(output.device) + self._mean.to(output.device)

    def decode(self, output: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
        """Every number in the units of the data."""
        return super().decode(self.in_units(output.float()), names)

    def by_output(self, output: Tensor, target: Tensor) -> dict[str, list[float]]:
        """RMSE and R² of every number."""
        error = (self.in_units(output.float()) - target).square().mean(0)
        variance = target.var(0, correction=0).clamp(min=torch.finfo(torch.float32).tiny)
        return {"RMSE": error.sqrt().tolist(), "R²": (1 - error / variance).tolist()}

    def rows(self, output: Tensor, target: Tensor | None = None) -> None:
        """None: numbers are no distribution."""
        del output, target

    def metrics(self, with_agreement: bool) -> OutputMetrics:
        """RMSE, MAE, R², Pearson's r and Spearman's ρ, and the RMSE between student and teacher."""
        k = self.num_classes
        to_teacher = {"teacher_rmse": MeanSquaredError(squared=False, num_outputs=k)} if with_agreement else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*will save all targets and predictions.*")  # numbers of one split
            against_target = {
                "rmse": MeanSquaredError(squared=False, num_outputs=k),
                "mae": MeanAbsoluteError(num_outputs=k),
                "r2": R2Score(),
                "pearson": PearsonCorrCoef(num_outputs=k),
                "spearman": SpearmanCorrCoef(num_outputs=k),
            }
        return OutputMetrics(against_target, to_teacher, self.in_units)

    def weakness(self, scores: Mapping[str, float]) -> str | None:
        """That it predicts hardly better than the mean of the training samples."""
        return f"hardly better than the mean of the data (R² {scores['r2']:.2f})" if scores["r2"] < 0.1 else None
