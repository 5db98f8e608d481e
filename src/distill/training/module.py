"""The LightningModule: one student, perhaps a teacher, and the criterion between them."""

import inspect
import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from distill.data import Batch
from distill.distillation.criterion import Criterion, Losses
from distill.distillation.ensemble import Ensemble
from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.teacher import Teacher
from distill.models.outputs import Outputs
from distill.tasks.metrics import Means, Metrics
from distill.training.acceleration import compilation, cuda_graphs
from distill.training.acceleration.cuda_graphs import Graph
from distill.training.quantization import Int8
from distill.training.schedulers import SchedulerFactory, lightning_scheduler
from distill.utils import distributed

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


def _seed(value: int, device: torch.device) -> None:
    """Seeds what is drawn on the CPU and on one device.

    Not ``torch.manual_seed``: it also leaves the seed, with a formatted stack, for every kind of device that is not
    there, which takes longer than the rest of a step's bookkeeping.
    """
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


def _flat(batch: Batch, teacher: Outputs | None) -> list[Tensor]:
    """All tensors of a step."""
    return [*batch, *(teacher.tensors() if teacher is not None else [])]


class Distiller(L.LightningModule):
    """Trains ``student`` on ``criterion``. Training a teacher is the same with no teacher of its own.

    Args:
        student: the model that is trained; its forward gives logits (N, C).
        criterion: the built criterion.
        num_classes: C.
        teacher: one or an ensemble, frozen; held outside the module tree.
        optimizer: makes the optimizer from parameters (student's and criterion's); None: for evaluation only.
        scheduler: makes the learning-rate scheduler from the optimizer (see ``distill.training.schedulers``).
        head: module path of the student's classifier where a term reads its embedding.
        seed: of everything random inside the models; a step draws by (seed, epoch, batch) only, so that a resumed
            run continues as if it had not stopped.
        agreement: whether to count how often the student answers as its teacher; None: where there is one.
        int8: makes the student compute as in int8; its ranges are part of the checkpoint.
        compiled: whether the student's training forward is compiled, and the teacher's.
        captured: whether on CUDA a step is captured as a graph where that can be.
    """

    def __init__(
        self,
        student: nn.Module,
        criterion: Criterion,
        num_classes: int,
        teacher: Teacher | Ensemble | None = None,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
        head: str | None = None,
        seed: int = 0,
        agreement: bool | None = None,
        int8: Int8 | None = None,
        compiled: tuple[bool, bool] = (False, False),
        cuda_graph: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.criterion = criterion
        self.teacher = teacher
        self.int8 = int8
        self.seed = seed
        self._optimizer = optimizer
        self._scheduler = scheduler
        self._read = (criterion.extracted_layers("student"), head)
        self._extractor = FeatureExtractor(student, *self._read)
        self._whole: tuple[nn.Module, Criterion] | None = None  # while their sharded copies are trained
        self._compile = compiled
        if any(compiled):
            compilation.begin()
        self._cuda_graph = cuda_graph
        self._prepared = [False, False]  # student, teacher
        self._graph: Graph | None = None
        self._graph_key: Any = None
        self._scaled = False  # whether the precision scales the loss
        self._learns: tuple[bool, ...] = ()  # which parameters are trained in this epoch
        self._replayed = False  # whether the present step has its gradients already
        self.means = {stage: Means() for stage in ("train", "val", "test")}
        agreement = teacher is not None if agreement is None else agreement
        self.metrics = nn.ModuleDict(
            {f"{stage}_": Metrics(num_classes, agreement) for stage in ("train", "val", "test")}
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """As every module; Lightning notes the name of each hook that it calls, some fifty times a step."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, inputs: Any) -> Tensor:
        """The student's logits (N, C)."""
        logits: Tensor = self.student(inputs)
        return logits

    def configure_model(self) -> None:
        """Puts sharded copies of student and criterion in their places, where the strategy shards."""
        strategy = self.trainer.strategy
        if self._whole is not None or not isinstance(strategy, ModelParallelStrategy):
            return
        from distill.training.acceleration import sharding

        self._extractor.remove()
        self._whole = (self.student, self.criterion)
        mesh = strategy.device_mesh["data_parallel"]
        self.student = sharding.sharded(self.student, mesh)
        # Preparations call no forward of a loss, only the criterion's.
        self.criterion = sharding.sharded(self.criterion, mesh, blocks=False)
        self._extractor = FeatureExtractor(self.student, *self._read)
        if distributed.is_rank_zero():
            held, all_ = sharding.held(self.student) / 1e6, sum(p.numel() for p in self._whole[0].parameters()) / 1e6
            print(f"this process holds {held:.3g} M of the {all_:.3g} M parameters that are trained", flush=True)

    def gather(self) -> None:
        """Takes the whole student and criterion back, with what their copies learnt, in the first process."""
        if self._whole is None:
            return
        from distill.training.acceleration import sharding

        state = sharding.whole_state(self)
        self.trainer.strategy.optimizers = []  # they hold the copies
        self._extractor.remove()
        (self.student, self.criterion), self._whole = self._whole, None
        self._extractor = FeatureExtractor(self.student, *self._read)
        if distributed.is_rank_zero():
            self.load_state_dict(state)

    def setup(self, stage: str) -> None:
        """Puts the teacher beside the student."""
        device = self.trainer.strategy.root_device  # ``self.device`` is still the CPU here
        if self.teacher is not None:
            self.teacher.to(device)
        self._scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        adds_up = self.trainer.accumulate_grad_batches > 1 or self.trainer.world_size > 1
        self._cuda_graph &= device.type == "cuda" and not self._scaled and not adds_up

    def _outputs(self, batch: Batch, stage: str) -> tuple[Outputs, Outputs | None, Losses]:
        """What student and teacher answer, and the losses; a phase that has no use for one of them does not ask it."""
        asked = self.teacher is not None and (stage != "train" or self.criterion.asks_teacher)
        teacher = self.teacher(batch, stage) if self.teacher is not None and asked else None  # before there is a graph
        graph = self._graph_for(batch, teacher) if stage == "train" and self._cuda_graph else None
        self._replayed = graph is not None
        student, losses = graph(*_flat(batch, teacher)) if graph is not None else self._answered(batch, teacher)
        return student, teacher, losses

    def _answered(self, batch: Batch, teacher: Outputs | None) -> tuple[Outputs, Losses]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.criterion.teaches_student):
            student = self._extractor(batch.inputs)
        losses: Losses = self.criterion(student, teacher, batch)
        return student, losses

    def _graph_for(self, batch: Batch, teacher: Outputs | None) -> Graph | None:
        """The step as a CUDA graph, captured anew where a number in it follows a schedule; None: there is none."""
        trainer: Any = self.trainer
        if len(batch.target) != trainer.datamodule.batch_size or trainer.accumulate_grad_batches != 1:
            return None
        if not isinstance(batch.inputs, Tensor):
            return None
        shapes = (batch.inputs.shape, batch.target.shape)
        key = (self.criterion.pretraining_term, shapes, self._learns, *self.criterion.scheduled.items())
        if self._graph_key != key:
            self._graph, self._graph_key = None, key
            try:
                self._graph = self._capture(batch, teacher)
            except Exception as error:  # torch and CUDA raise several kinds
                cuda_graphs.refused("the step", error)
                self._cuda_graph = False
        return self._graph

    def _capture(self, batch: Batch, teacher: Outputs | None) -> Graph:
        features = list(teacher.features) if teacher is not None else []

        def step(inputs: Tensor, target: Tensor, index: Tensor, *answers: Tensor) -> tuple[Outputs, Losses]:
            given = Batch(inputs, target, index)
            embedding = answers[1 + len(features)] if len(answers) > 1 + len(features) else None
            kept = dict(zip(features, answers[1:], strict=False))
            student, losses = self._answered(given, Outputs(answers[0], kept, embedding) if answers else None)
            with torch.autocast(inputs.device.type, enabled=False):  # Lightning's backward is outside of it, too
                losses.total.backward()  # type: ignore[no-untyped-call]
            parts = {name: value.detach() for name, value in losses.parts.items()}
            return Outputs(student.logits.detach(), {}, None), Losses(losses.total.detach(), parts)

        learning = [p for p in self.parameters() if p.requires_grad]
        return Graph(step, _flat(batch, teacher), (self.student, self.criterion), learning)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """As every module; a captured step has done it."""
        if not self._replayed:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """As every module, but for the gradients of a captured step, which comes before this and adds to nothing."""
        if not self._replayed:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def _step(self, batch: Batch, stage: str) -> Losses:
        student, teacher, losses = self._outputs(batch, stage)
        metrics: Any = self.metrics[f"{stage}_"]
        metrics.update(student, teacher, batch.target)
        self.means[stage].update({"loss": losses.total, **losses.parts}, len(batch.target))
        if stage == "train" and self.trainer.progress_bar_callback is not None:
            self.log("loss", losses.total.detach(), prog_bar=True, logger=False)
        return losses

    def _log_epoch(self, stage: str) -> None:
        """Logs an epoch's means and counts, once: what Lightning does for every logged number of every step adds up."""
        metrics: Any = self.metrics[f"{stage}_"]
        found = {**self.means[stage].compute(), **metrics.compute()}
        values = {f"{stage}/{name}": value for name, value in found.items()}
        shown = stage == "val"
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=1, prog_bar=shown)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Logs the epoch after its last batch."""
        if self.trainer.is_last_batch:
            self._log_epoch("train")

    def on_validation_start(self) -> None:
        """One set of running statistics, that of the checkpoints, for all processes; DDP sees to it by itself."""
        if self._whole is not None:
            for part in (self.student, self.criterion):
                distributed.align_buffers(part)

    def on_validation_epoch_end(self) -> None:
        """Logs the validation split."""
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Logs the test split."""
        self._log_epoch("test")

    def on_train_start(self) -> None:
        """Keeps a student that is not trained now (a paraphraser is) as it is, running statistics included."""
        if not self.criterion.teaches_student:
            self.student.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds what the models draw in this step (dropout, drop-path), and sets what follows a schedule."""
        self.start_epoch(self.current_epoch, self.trainer.max_epochs or 1)
        whole = self.trainer.datamodule.batch_size  # type: ignore[attr-defined]
        if (any(self._compile) or self._cuda_graph) and len(batch.target) == whole:
            self._prepare_for(batch.inputs)
        place = (self.current_epoch << 32) + batch_idx * self.trainer.world_size + self.global_rank
        _seed((self.seed * 0x9E3779B97F4A7C15 + place) % 2**63, self.device)

    def _prepare_for(self, inputs: Any) -> None:
        """Compiles for the shape of the first whole batch; a phase that only prepares compiles no student."""
        context = self.trainer.precision_plugin.forward_context
        if not self._prepared[0] and self.criterion.teaches_student:
            self._prepared[0] = True
            with cuda_graphs.uncached() if self._cuda_graph else nullcontext():
                if self._compile[0]:
                    compilation.compile_student(self._extractor, inputs, context, "the student")
        if not self._prepared[1] and self.teacher is not None and self.criterion.asks_teacher:
            self._prepared[1] = True
            self.teacher.prepare(inputs, context, self._compile[1], self._cuda_graph)
            loader: Any = self.trainer.train_dataloader
            if self._cuda_graph and getattr(loader.dataset, "device", None) == inputs.device:
                loader.prefetch = self.teacher.prefetch

    def on_train_epoch_end(self) -> None:
        """Logs what followed a schedule."""
        self.log_dict({f"schedule/{name}": value for name, value in self.criterion.scheduled.items()})

    def on_train_epoch_start(self) -> None:
        """Sees which parameters are trained: a callback may have changed it."""
        self._learns = tuple(p.requires_grad for p in self.parameters())

    def teardown(self, stage: str) -> None:
        """Leaves nothing of the teacher's cache in memory only, and nothing captured on the device."""
        if self.teacher is not None:
            self.teacher.flush()
            self.teacher.release()
        if self._graph is not None:
            self._graph = self._graph_key = None
            self._prepared[1] = False
            for parameter in self.parameters():
                parameter.grad = None

    def start_epoch(self, epoch: int, max_epochs: int) -> None:
        """Sets what follows a schedule to its value in ``epoch``, counted from 0."""
        self.criterion.start_epoch(epoch, max_epochs)
        if self.teacher is not None:
            self.teacher.start_epoch(epoch, max_epochs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One step."""
        return self._step(batch, "train").total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch of the validation split."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts one batch of the test split."""
        self._step(batch, "test")

    def _total_steps(self) -> int:
        """Optimizer steps of the whole run.

        Not ``trainer.estimated_stepping_batches``: it sets up the loaders before Lightning restores their state, which
        is then never restored, and a run resumed in mid-epoch would see its first batches twice.
        """
        trainer: Any = self.trainer
        batches: int = len(trainer.datamodule.train_dataloader())
        limit: int | float = trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        return int(max(1, math.ceil(batches / trainer.accumulate_grad_batches) * trainer.max_epochs))

    def _fused(self) -> dict[str, bool]:
        """On CUDA, one kernel for all parameters, of an optimizer that has it and was not told how to do it.

        Not where the loss is scaled (torch's SGD leaves its momentum unset where the first step overflows), nor of
        sharded parameters (which not all of them take).
        """
        own: Any = getattr(self._optimizer, "func", self._optimizer)
        given = getattr(self._optimizer, "keywords", {})
        plain = not self._scaled and self._whole is None
        can = next(self.parameters()).is_cuda and plain and "fused" in inspect.signature(own).parameters
        return {"fused": True} if can and not {"fused", "foreach", "differentiable"} & given.keys() else {}

    def configure_optimizers(self) -> Any:
        """Student's and criterion's parameters; the teacher's are not among them."""
        assert self._optimizer is not None, "a Distiller without optimizer can only be evaluated"
        optimizer = self._optimizer([p for p in self.parameters() if p.requires_grad], **self._fused())
        if self._scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": lightning_scheduler(self._scheduler, optimizer, self._total_steps()),
        }
