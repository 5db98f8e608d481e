"""The LightningModule that trains a student by a criterion, with or without a teacher."""

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.teacher import Teacher
from distill.tasks.base import Task
from distill.training.evaluation_module import EvaluationModule
from distill.training.optimization import OptimizerFactory, optimizers, total_steps
from distill.training.quantization import Int8
from distill.training.schedulers import SchedulerFactory
from distill.utils import distributed
from distill.utils.errors import UserError

_UNIT = 1024  # tokens by which losses are scaled until those of a step are counted


class DistillationModule(EvaluationModule):
    """Trains a student. Override :meth:`EvaluationModule.compute` to change what a step computes.

    CUDA graphs, compilation and sharding wrap this module from ``distill.training.acceleration``.

    Args:
        student: see :class:`EvaluationModule`, as for ``task``, ``head`` and ``agreement``.
        criterion: the built criterion; its parameters are trained, too.
        teacher: held outside the module tree, so outside optimizer and checkpoint.
        optimizer: makes the optimizer from parameters.
        scheduler: makes the learning-rate scheduler from the optimizer (see ``distill.training.schedulers``).
        seed: of everything random inside the models. Each step is seeded by (seed, epoch, batch), so that a resumed
            run draws the same numbers as an uninterrupted one.
        int8: fake quantisation of the student; its ranges are part of the checkpoint.
        callbacks: added to the Trainer's.
    """

    def __init__(
        self,
        student: nn.Module,
        criterion: Criterion,
        task: Task,
        teacher: Teacher | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        head: str | None = None,
        seed: int = 0,
        agreement: bool | None = None,
        int8: Int8 | None = None,
        callbacks: Sequence[L.Callback] = (),
    ) -> None:
        super().__init__(student, criterion, task, teacher, head, agreement)
        self.int8 = int8
        self.seed = seed
        self._tokens = 0  # of the present step
        self._optimizer, self._scheduler = optimizer, scheduler
        self._callbacks = list(callbacks)

    def configure_callbacks(self) -> list[L.Callback]:
        return self._callbacks

    def configure_optimizers(self) -> Any:
        assert self._optimizer is not None, "training needs an optimizer"
        return optimizers(self._optimizer, self._scheduler, self, lambda: total_steps(self.trainer))

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Set scheduled values for ``epoch``, counted from 0."""
        self.criterion.start_epoch(epoch, max_epochs)
        if self.teacher is not None:
            self.teacher.start_epoch(epoch, max_epochs)

    def on_train_start(self) -> None:
        if not self.criterion.teaches_student:
            self.student.eval()  # running statistics stay the same, too

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set schedules (here, as a run resumed in mid-epoch starts no epoch) and seed the generators."""
        self.start_epoch(self.current_epoch, self.trainer.max_epochs or 1)
        step = (self.current_epoch << 32) + batch_idx * self.trainer.world_size + self.global_rank
        _seed_generators((self.seed * 0x9E3779B97F4A7C15 + step) % 2**63, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        version = getattr(batch.inputs, "_version", 0)
        loss = self.step(batch, "train")
        if getattr(batch.inputs, "_version", 0) != version:
            raise UserError("a model changes its input in place in some training steps; let it take x.clone()")
        if self.trainer.progress_bar_callback is not None:
            self.log("loss", loss.detach(), prog_bar=True, logger=False)
        if self._counts_tokens:
            tokens = self.task.weight(batch.target)
            self._tokens += tokens
            return loss * (tokens / _UNIT)
        return loss

    @property
    def _counts_tokens(self) -> bool:
        """Whether gradients are means over the tokens of several batches, see ``Task.counts_tokens``."""
        return self.task.counts_tokens and self.trainer.accumulate_grad_batches * self.trainer.world_size > 1

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Make the gradient that of the mean over all tokens of the step, whichever batch or process they were in.

        Lightning has divided each batch's gradient by the number of batches, and averaged over the processes.
        """
        if not self._counts_tokens:
            return
        tokens = distributed.all_reduce_sum(torch.tensor(float(self._tokens), device=self.device))
        self._tokens = 0
        factor = _UNIT * self.trainer.accumulate_grad_batches * self.trainer.world_size / tokens.clamp(min=1)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.mul_(factor)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            self.log_epoch("train")

    def on_train_epoch_end(self) -> None:
        self.log_dict({f"schedule/{name}": value for name, value in self.criterion.scheduled.items()})


def _seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators of the CPU and of one device.

    ``torch.manual_seed`` is slow: for every absent type of device it records the seed with a formatted stack.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)
