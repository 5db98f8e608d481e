"""Predictions of models on a split, by the module that tested them in the run."""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.data import Batch, ViewLoader
from distill.distillation.criterion import Criterion
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.tasks.base import Task
from distill.training.evaluation_module import EvaluationModule, StepOutput

MAPPED = 1000  # samples whose embeddings are kept


@dataclass(frozen=True)
class Predictions:
    """One model on one split.

    Attributes:
        logits: (N, C) in the model's own type, or what else the task keeps of them (``Task.recorded``).
        embedding: of the samples at ``mapped``, float32 (M, D); None where the model has none.
        broken: samples whose logits are not all finite.
    """

    logits: Tensor
    embedding: Tensor | None
    broken: int = 0


@dataclass(frozen=True)
class Pass:
    """One pass over a split.

    Attributes:
        target: class numbers, int64 (N,).
        index: each sample's position in its source, int64 (N,).
        mapped: positions among the N of the samples whose embeddings are kept, int64 (M,).
        logged: the metrics as the run logs them, by name.
    """

    student: Predictions
    teacher: Predictions | None
    target: Tensor
    index: Tensor
    mapped: Tensor
    logged: dict[str, float]


class Recorder(EvaluationModule):
    """An evaluation module that keeps the outputs of every batch on the CPU.

    Args:
        keep: positions of the samples whose embeddings are kept, ascending, int64 (M,).
        arguments: see :class:`EvaluationModule`.
    """

    def __init__(self, keep: Tensor, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._keep = keep
        self._count = 0
        self._batches: list[dict[str, Tensor]] = []

    def compute(self, batch: Batch, split: str) -> StepOutput:
        output = super().compute(batch, split)
        begin, self._count = self._count, self._count + len(batch.target)
        mapped = self._keep[(self._keep >= begin) & (self._keep < self._count)]
        rows = {"target": batch.target, "index": batch.index, "mapped": mapped}
        for who, outputs in (("student", output.student), ("teacher", output.teacher)):
            if outputs is not None:
                rows[f"{who} logits"] = self.task.recorded(outputs, batch.target)
                rows[f"{who} broken"] = ~outputs.logits.float().isfinite().flatten(1).all(1)
            if outputs is not None and outputs.embedding is not None:
                rows[f"{who} embedding"] = outputs.embedding[(mapped - begin).to(outputs.embedding.device)].float()
        self._batches.append({name: value.cpu() for name, value in rows.items()})
        return output

    def concatenated(self, logged: dict[str, float]) -> Pass:
        """The outputs of all batches."""
        rows = {name: joined([batch[name] for batch in self._batches]) for name in self._batches[0]}
        student, teacher = (
            Predictions(rows[f"{who} logits"], rows.get(f"{who} embedding"), int(rows[f"{who} broken"].sum()))
            if f"{who} logits" in rows
            else None
            for who in ("student", "teacher")
        )
        assert student is not None
        return Pass(student, teacher, rows["target"], rows["index"], rows["mapped"], logged)


def joined(batches: list[Tensor]) -> Tensor:
    """All batches; of texts, (B, L) or (B, L, C), padded to the longest: numbers with 0, class numbers with −100."""
    lengths = {batch.shape[1] for batch in batches if batch.dim() > 1}
    if len(lengths) > 1:
        fill = 0 if batches[0].is_floating_point() else -100
        after = [0, 0] * (batches[0].dim() - 2)
        batches = [F.pad(batch, [*after, 0, max(lengths) - batch.shape[1]], value=fill) for batch in batches]
    return torch.cat(batches)


def predict(
    net: NamedModel,
    teacher: Teacher | None,
    loader: ViewLoader,
    trainer: L.Trainer,
    split: str,
    task: Task,
    label_smoothing: float = 0.0,
) -> Pass:
    """Predictions of a model, and of its teacher if given, on every sample of a loader.

    Args:
        net: the evaluated model.
        teacher: evaluated in the same pass.
        loader: of the split.
        trainer: sets device and precision.
        split: "val" is validated, any other tested, as in the run.
        task: the run's.
        label_smoothing: of the logged cross-entropy.
    """
    samples = len(loader.dataset)  # type: ignore[arg-type]
    keep = torch.linspace(0, samples - 1, min(MAPPED, samples)).round().long()
    criterion = Criterion(label_smoothing=label_smoothing, task=task)
    recorder = Recorder(keep, net.model, criterion, task, teacher, head=net.model_info.head)
    return recorder.concatenated(recorder.evaluate(trainer, loader, split))
