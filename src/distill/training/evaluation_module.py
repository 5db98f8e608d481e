"""The LightningModule of validation and test: a student, perhaps a teacher, losses and metrics."""

from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.criterion import Criterion, Losses
from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.teacher import Teacher
from distill.models.outputs import Outputs
from distill.tasks.base import Task
from distill.tasks.metrics import Means

SPLITS = ("train", "val", "test")


class StepOutput(NamedTuple):
    """The outputs of student and teacher (None where it is not needed) for one batch, and the losses."""

    student: Outputs
    teacher: Outputs | None
    losses: Losses


class EvaluationModule(L.LightningModule):
    """Evaluates a student. Override :meth:`compute` to change what a step computes.

    Args:
        student: its forward returns logits.
        criterion: the built criterion.
        task: its metrics are logged.
        teacher: one or an ensemble, frozen; held outside the module tree.
        head: module path of the student's classifier where a term reads its embedding.
        agreement: measure agreement with the teacher; None: where there is one.

    Attributes:
        means: by split, the mean losses of the current epoch.
        extractor: calls the student.
    """

    def __init__(
        self,
        student: nn.Module,
        criterion: Criterion,
        task: Task,
        teacher: Teacher | None = None,
        head: str | None = None,
        agreement: bool | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.assemble(criterion, task, teacher, head, agreement)

    def assemble(
        self,
        criterion: Criterion,
        task: Task,
        teacher: Teacher | None = None,
        head: str | None = None,
        agreement: bool | None = None,
    ) -> None:
        """Set all attributes but ``student``; the arguments are those of the class."""
        self.criterion = criterion
        self.task = task
        self.teacher = teacher
        self.extractor = FeatureExtractor(self.student, criterion.extracted_layers("student"), head)
        self.means = {split: Means() for split in SPLITS}
        agreement = teacher is not None if agreement is None else agreement
        self.metrics = nn.ModuleDict({f"{split}_": task.metrics(agreement) for split in SPLITS})

    def __setattr__(self, name: str, value: Any) -> None:
        """Skip the checks of ``nn.Module`` for a string that Lightning sets some fifty times a step: 1.1 µs each."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, inputs: Any) -> Tensor:
        logits: Tensor = self.student(inputs)
        return logits

    def compute(self, batch: Batch, split: str) -> StepOutput:
        """The outputs and losses for one batch of a split ("train", "val", "test"); the hook to override."""
        teacher = self.teacher_outputs(batch, split)
        student, losses = self.student_losses(batch, teacher)
        return StepOutput(student, teacher, losses)

    def teacher_outputs(self, batch: Batch, split: str) -> Outputs | None:
        """The teacher's outputs; None without a teacher, and in a phase of training that does not need it."""
        if self.teacher is None or (split == "train" and not self.criterion.asks_teacher):
            return None
        return self._sized(self.teacher(batch, split), batch)

    def student_losses(self, batch: Batch, teacher: Outputs | None) -> tuple[Outputs, Losses]:
        """The student's outputs, without gradient in a phase that does not train it, and the losses."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.criterion.teaches_student):
            student = self._sized(self.extractor(batch.inputs), batch)
        losses: Losses = self.criterion(student, teacher, batch)
        return student, losses

    def _sized(self, outputs: Outputs, batch: Batch) -> Outputs:
        """The outputs with logits at the size of the targets, once for all terms and metrics."""
        sized = self.task.sized(outputs.logits, batch.target)
        return outputs if sized is outputs.logits else outputs._replace(sized=sized)

    def step(self, batch: Batch, split: str) -> Tensor:
        """Compute one batch and count it in the metrics of its split; returns the total loss."""
        student, teacher, losses = self.compute(batch, split)
        metrics: Any = self.metrics[f"{split}_"]
        metrics.update(student, teacher, batch.target)
        self.means[split].update({"loss": losses.total, **losses.parts}, self.task.weight(batch.target))
        return losses.total

    def log_epoch(self, split: str) -> None:
        """Log the means of an epoch; logging with Lightning in every step takes longer than a short step."""
        metrics: Any = self.metrics[f"{split}_"]
        values = {f"{split}/{name}": value for name, value in (self.means[split].compute() | metrics.compute()).items()}
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, prog_bar=split == "val")

    def evaluate(self, trainer: L.Trainer, loader: Any, split: str) -> dict[str, float]:
        """Metrics and loss terms by their names without the split; "val" is validated, any other split tested."""
        call: Any = trainer.validate if split == "val" else trainer.test
        return {key.partition("/")[2]: value for key, value in call(self, loader, verbose=False)[0].items()}

    def setup(self, stage: str) -> None:
        if self.teacher is not None:
            self.teacher.to(self.trainer.strategy.root_device)  # ``self.device`` is still the CPU

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.step(batch, "val")

    def on_validation_epoch_end(self) -> None:
        self.log_epoch("val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.step(batch, "test")

    def on_test_epoch_end(self) -> None:
        self.log_epoch("test")

    def teardown(self, stage: str) -> None:
        if self.teacher is not None:
            self.teacher.flush()  # writes its cache to disk
