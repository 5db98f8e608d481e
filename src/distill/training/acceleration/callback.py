"""The callback that compiles models and captures CUDA graphs in a training."""

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
from torch import Tensor

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.training.acceleration import compilation, graphed_step
from distill.training.acceleration.cuda_graphs import no_autocast_cache
from distill.training.acceleration.graphed_step import GraphedStep
from distill.training.acceleration.teacher import AcceleratedTeacher
from distill.training.module import DistillationModule


@dataclass(eq=False)
class Acceleration(L.Callback):
    """Compile the models of a :class:`DistillationModule`, and capture its steps and its teacher as CUDA graphs.

    Both are done at the first full batch, for its shape; short batches and evaluation run eagerly. A failure is logged
    in one line, and the eager code is used.

    Args:
        compile_student: whether the student's training forward and backward are compiled.
        compile_teacher: whether the teacher's forward is.
        cuda_graph: whether steps are captured, where ``supports_cuda_graph``.
        prefetch: whether a captured teacher computes the next batch beside the student's step, on a stream of its own.
    """

    compile_student: bool = False
    compile_teacher: bool = False
    cuda_graph: bool = False
    prefetch: bool = False

    def __post_init__(self) -> None:
        self._student_done = self._teacher_done = False
        self._teachers: dict[Teacher, AcceleratedTeacher] = {}
        self._step: GraphedStep | None = None
        if self.compile_student or self.compile_teacher:
            compilation.reset()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self.cuda_graph and graphed_step.supports_cuda_graph(trainer):
            self._step = GraphedStep(pl_module, trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._step is not None:
            self._step.refresh_trained_parameters()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Batch, batch_idx: int) -> None:
        module: DistillationModule = pl_module
        student = not self._student_done and module.criterion.teaches_student
        teacher = not self._teacher_done and module.teacher is not None and module.criterion.asks_teacher
        enabled = self.compile_student or self.compile_teacher or self._step is not None
        if not (student or teacher) or not enabled or len(batch.target) != trainer.datamodule.batch_size:
            return
        if not isinstance(batch.inputs, Tensor):  # texts differ in length
            return
        module.start_epoch(trainer.current_epoch, trainer.max_epochs or 1)  # for a teacher's cache
        context = trainer.precision_plugin.forward_context
        if student:
            self._student_done = True
            with no_autocast_cache() if self._step is not None else nullcontext():
                if self.compile_student:
                    compilation.compile_student(module.extractor, batch.inputs, context, "the student")
        if teacher:
            self._teacher_done = True
            self._prepare_teacher(module.teacher, batch, context, trainer.train_dataloader)

    def _prepare_teacher(self, teacher: Any, batch: Batch, context: Any, loader: Any) -> None:
        graphs = self._step is not None
        for live in teacher.live_teachers():
            if live not in self._teachers:
                self._teachers[live] = AcceleratedTeacher(live, self.compile_teacher, graphs, self.prefetch)
            self._teachers[live].prepare(batch.inputs, context)

        def prefetch(batch: Batch) -> None:
            for live in teacher.live_teachers(every_batch=True):
                if live in self._teachers:
                    self._teachers[live].prefetch(batch)

        if self.prefetch and graphs and getattr(loader.dataset, "device", None) == batch.inputs.device:
            loader.prefetch = prefetch

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Free the captured graphs; compiled forwards stay for the next training of the module."""
        for teacher in self._teachers.values():
            teacher.release()
        if self._step is not None:
            self._step.remove()
            self.cuda_graph = not self._step.refused
            self._step, self._teacher_done = None, False
