"""Several teachers as one: their predictions are combined into one distribution per sample, or into one number."""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from distill.config.schedules import Schedule
from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.losses.checks import full_precision, positive, upcast
from distill.models.outputs import Outputs
from distill.tasks.base import Task
from distill.utils.errors import UserError


@full_precision
def combine(logits: Sequence[Tensor], weights: Tensor, T: float) -> Tensor:
    """Logits of the weighted mean of softened distributions: z = T · log Σ_k w_k · softmax(z_k / T).

    softmax(z / T) is that mean exactly, so that T² · KL(mean ‖ student) of any loss at this T is, but for a constant,
    the weighted mean of the losses of each teacher.

    Args:
        logits: K times (N, C).
        weights: w, (K,) or (N, K); each row sums to 1.
        T: temperature, > 0.

    Returns:
        (N, C).

    Raises:
        ValueError: T is not above 0, or the shapes differ.

    Source: You et al. 2017, "Learning from Multiple Teacher Networks", KDD (mean of the softened outputs).

    Example:
        >>> z = torch.tensor([[1.0, 2.0, 0.0]])
        >>> torch.allclose(combine([z, z], torch.tensor([0.5, 0.5]), 4.0).softmax(1), z.softmax(1))
        True
    """
    positive("T", T)
    if len({z.shape for z in logits}) != 1:
        raise ValueError(f"teachers must answer in one shape, got {[tuple(z.shape) for z in logits]}")
    log_p = torch.stack([F.log_softmax(z / T, dim=1) for z in logits], dim=1)  # (N, K, C)
    log_w = weights.to(log_p).clamp(min=1e-30).log()
    return T * torch.logsumexp(log_p + log_w.reshape(-1, len(logits), 1), dim=1)


@full_precision
def confidence(logits: Sequence[Tensor], target: Tensor) -> Tensor:
    """Weight of each teacher for each sample: (1 − exp(L_k) / Σ_j exp(L_j)) / (K − 1), L_k = CE(z_k, target).

    A teacher that is surer of the right class weighs more. One teacher weighs 1.

    Args:
        logits: K times (N, C).
        target: class numbers, int64 (N,).

    Returns:
        (N, K), rows sum to 1.

    Source: Zhang et al. 2022, "Confidence-Aware Multi-Teacher Knowledge Distillation", arXiv:2201.00007, eq. 3.

    Example:
        >>> sure, wrong = torch.tensor([[9.0, 0.0]]), torch.tensor([[0.0, 9.0]])
        >>> confidence([sure, wrong], torch.tensor([0]))[0].round(decimals=2).tolist()
        [1.0, 0.0]
    """
    losses = torch.stack([F.cross_entropy(z, target, reduction="none") for z in logits], dim=1)
    if losses.shape[1] == 1:
        return torch.ones_like(losses)
    return (1 - losses.softmax(dim=1)) / (losses.shape[1] - 1)


class WeightedMean:
    """Combines teachers with fixed weights; see :func:`combine`.

    Args:
        T: temperature at which the distributions are averaged, > 0: that of the loss.
        weights: one per teacher, the main one first, > 0, made to sum to 1; None: all alike.

    Attributes:
        takes_numbers: whether it combines outputs that are no distribution.
    """

    takes_numbers = True

    def __init__(self, T: float = 4.0, weights: Sequence[float] | None = None) -> None:
        self.T = positive("T", T)
        for weight in weights or ():
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"weights must be finite numbers above 0, got {list(weights or ())}")
        self.weights = list(weights) if weights is not None else None
        self._shares: Tensor | None = None

    def check(self, teachers: int) -> None:
        """Raise a UserError unless there are as many weights as teachers."""
        if self.weights is not None and len(self.weights) != teachers:
            raise UserError(f"kd.ensemble.weights must be one per teacher, {teachers}, got {self.weights}")

    def __call__(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """The combined logits (N, C)."""
        return combine(logits, self._weights(len(logits), target.device), self.T)

    def of_numbers(self, outputs: Sequence[Tensor]) -> Tensor:
        """The weighted mean of outputs that are no distribution, (N, K)."""
        weights = self._weights(len(outputs), outputs[0].device)
        return torch.stack([upcast(output) for output in outputs], dim=-1) @ weights

    def _weights(self, teachers: int, device: torch.device) -> Tensor:
        """(K,), with the sum 1."""
        if self._shares is None or self._shares.device != device:
            weights = torch.tensor(self.weights or [1.0] * teachers, device=device)
            self._shares = weights / weights.sum()
        return self._shares


class ConfidenceMean(WeightedMean):
    """Combines teachers by their confidence in each sample's label; see :func:`confidence`.

    Args:
        T: temperature at which the distributions are averaged, > 0: that of the loss.
    """

    takes_numbers = False

    def __init__(self, T: float = 4.0) -> None:
        super().__init__(T)

    def __call__(self, logits: Sequence[Tensor], target: Tensor) -> Tensor:
        """The combined logits (N, C)."""
        return combine(logits, confidence(logits, target), self.T)


class Ensemble(Teacher):
    """Several teachers as one.

    Args:
        teachers: the main one first; its features and embedding are the ensemble's.
        mean: combines their outputs.
        task: says which distributions their outputs are.
        schedules: of the mean's arguments, by name.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        mean: WeightedMean,
        task: Task,
        schedules: Mapping[str, Schedule] | None = None,
    ) -> None:
        super().__init__(teachers[0].model)
        self.teachers = tuple(teachers)
        self.mean = mean
        self.task = task
        self._schedules = dict(schedules or {})

    def __call__(self, batch: Batch, split: str = "train") -> Outputs:
        """The combined outputs for one batch of a split, without gradient."""
        outputs = [teacher(batch, split) for teacher in self.teachers]
        with torch.no_grad():
            logits = [output.logits for output in outputs]
            if self.task.rows(logits[0], batch.target) is None:
                combined = self.mean.of_numbers(logits)
            else:
                combined = self.task.combined(logits, batch.target, self.mean)
        return outputs[0]._replace(logits=combined)

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set what follows a schedule to its value in ``epoch``, counted from 0."""
        for teacher in self.teachers:
            teacher.start_epoch(epoch, max_epochs)
        for name, schedule in self._schedules.items():
            setattr(self.mean, name, schedule.at(epoch, max_epochs))

    def flush(self) -> None:
        """Write what the teachers' caches hold to disk."""
        for teacher in self.teachers:
            teacher.flush()

    def live_teachers(self, every_batch: bool = False) -> list[Teacher]:
        """Those of its teachers, see :meth:`Teacher.live_teachers`."""
        return [live for teacher in self.teachers for live in teacher.live_teachers(every_batch)]

    def to(self, device: torch.device) -> "Ensemble":
        """Move all teachers to a device."""
        for teacher in self.teachers:
            teacher.to(device)
        return self
