"""Predictions of models on a split, made by the code that tested them in the run."""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from distill.data import Batch, ViewLoader
from distill.distillation.criterion import Criterion
from distill.distillation.ensemble import Ensemble
from distill.distillation.model_info import NamedModel
from distill.distillation.teacher import Teacher
from distill.models.outputs import Outputs
from distill.tasks.image_classification import ImageClassification
from distill.training.evaluation_module import EvaluationModule, StepOutput

MAPPED = 1000  # samples whose embeddings are kept


@dataclass(frozen=True)
class Predictions:
    """One model on one split.

    Attributes:
        logits: (N, C) in the model's own type.
        embedding: of the samples at ``mapped``, float32 (M, D); None where the model has none.
    """

    logits: Tensor
    embedding: Tensor | None


@dataclass(frozen=True)
class Pass:
    """One pass over a split.

    Attributes:
        student: the evaluated model.
        teacher: the one beside it; None where there is none.
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
    """A module that only evaluates, and keeps the outputs of every batch.

    Args:
        net: the evaluated model.
        num_classes: C.
        teacher: beside it, or None.
        label_smoothing: of the logged cross-entropy.
        keep: positions of the samples whose embeddings are kept, ascending, int64 (M,).
    """

    def __init__(
        self,
        net: NamedModel,
        num_classes: int,
        teacher: Teacher | Ensemble | None,
        label_smoothing: float,
        keep: Tensor,
    ) -> None:
        criterion = Criterion(label_smoothing=label_smoothing)
        task = ImageClassification(num_classes)
        super().__init__(net.model, criterion, task, teacher, head=net.model_info.head)
        self._keep = keep
        self._count = 0
        self._batches: list[tuple[Batch, Outputs, Outputs | None, Tensor]] = []

    def compute(self, batch: Batch, split: str) -> StepOutput:
        """As in the run; and keep the outputs."""
        output = super().compute(batch, split)
        student, teacher = output.student, output.teacher
        n = len(batch.target)
        kept = self._keep[(self._keep >= self._count) & (self._keep < self._count + n)] - self._count
        self._count += n
        labels = Batch(torch.empty(0), batch.target.cpu(), batch.index.cpu())
        light = _on_cpu(student, kept), teacher and _on_cpu(teacher, kept)
        self._batches.append((labels, *light, kept + self._count - n))
        return output

    def concatenated(self, logged: dict[str, float]) -> Pass:
        """All batches as one."""
        batches, students, teachers, mapped = zip(*self._batches, strict=True)
        return Pass(
            student=_concatenate(students),
            teacher=None if teachers[0] is None else _concatenate(teachers),
            target=torch.cat([batch.target for batch in batches]),
            index=torch.cat([batch.index for batch in batches]),
            mapped=torch.cat(mapped),
            logged=logged,
        )


def _on_cpu(outputs: Outputs, kept: Tensor) -> Outputs:
    """The logits, and the embeddings at the positions ``kept``, on the CPU."""
    embedding = outputs.embedding
    some = None if embedding is None else embedding[kept.to(embedding.device)].float().cpu()
    return Outputs(outputs.logits.cpu(), {}, some)


def _concatenate(outputs: tuple[Outputs, ...]) -> Predictions:
    embeddings = [output.embedding for output in outputs if output.embedding is not None]
    return Predictions(torch.cat([output.logits for output in outputs]), torch.cat(embeddings) if embeddings else None)


def predict(
    net: NamedModel,
    teacher: Teacher | Ensemble | None,
    loader: ViewLoader,
    trainer: L.Trainer,
    split: str,
    num_classes: int,
    label_smoothing: float = 0.0,
) -> Pass:
    """Runs a model, and perhaps one beside it, on every sample of a loader.

    Args:
        net: the evaluated model.
        teacher: beside it, or None.
        loader: of the split.
        trainer: an evaluating one; it brings device and precision.
        split: "val" is validated, any other tested, as in the run.
        num_classes: C.
        label_smoothing: of the logged cross-entropy.
    """
    samples = len(loader.dataset)  # type: ignore[arg-type]
    keep = torch.linspace(0, samples - 1, min(MAPPED, samples)).round().long()
    recorder = Recorder(net, num_classes, teacher, label_smoothing, keep)
    call: Any = trainer.validate if split == "val" else trainer.test
    results = call(recorder, dataloaders=loader, verbose=False)
    return recorder.concatenated({key.partition("/")[2]: value for key, value in results[0].items()})
