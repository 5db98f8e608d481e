"""Predictions of models on a split, by the module that tested them in the run."""

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
        self._batches: list[tuple[Batch, Outputs, Outputs | None, Tensor]] = []

    def compute(self, batch: Batch, split: str) -> StepOutput:
        output = super().compute(batch, split)
        student, teacher = output.student, output.teacher
        n = len(batch.target)
        kept = self._keep[(self._keep >= self._count) & (self._keep < self._count + n)] - self._count
        self._count += n
        labels = Batch(torch.empty(0), batch.target.cpu(), batch.index.cpu())
        outputs = _on_cpu(student, kept), teacher and _on_cpu(teacher, kept)
        self._batches.append((labels, *outputs, kept + self._count - n))
        return output

    def concatenated(self, logged: dict[str, float]) -> Pass:
        """The outputs of all batches."""
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
    embedding = None if embedding is None else embedding[kept.to(embedding.device)].float().cpu()
    return Outputs(outputs.logits.cpu(), {}, embedding)


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
    """Predictions of a model, and of its teacher if given, on every sample of a loader.

    Args:
        net: the evaluated model.
        teacher: evaluated in the same pass.
        loader: of the split.
        trainer: sets device and precision.
        split: "val" is validated, any other tested, as in the run.
        num_classes: C.
        label_smoothing: of the logged cross-entropy.
    """
    samples = len(loader.dataset)  # type: ignore[arg-type]
    keep = torch.linspace(0, samples - 1, min(MAPPED, samples)).round().long()
    criterion, task = Criterion(label_smoothing=label_smoothing), ImageClassification(num_classes)
    recorder = Recorder(keep, net.model, criterion, task, teacher, head=net.model_info.head)
    call: Any = trainer.validate if split == "val" else trainer.test
    results = call(recorder, dataloaders=loader, verbose=False)
    return recorder.concatenated({key.partition("/")[2]: value for key, value in results[0].items()})
