"""A training step as one CUDA graph: the student's forward, the losses and the backward."""

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from distill.data import Batch
from distill.distillation.criterion import Losses
from distill.models.outputs import Outputs
from distill.training.acceleration import cuda_graphs
from distill.training.acceleration.cuda_graphs import GraphedCallable
from distill.training.evaluation_module import StepOutput
from distill.training.module import DistillationModule


def supports_cuda_graph(trainer: L.Trainer) -> bool:
    """Whether steps can be captured: on one CUDA device, without loss scaling and gradient accumulation."""
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    accumulated = trainer.accumulate_grad_batches > 1 or trainer.world_size > 1
    return trainer.strategy.root_device.type == "cuda" and not scaled and not accumulated


class GraphedStep:
    """Replaces ``compute``, ``backward`` and ``optimizer_zero_grad`` of a module, until :meth:`remove`.

    The graph is captured again when a constant in it changes: a scheduled value, or which parameters are trained. Short
    batches and evaluation run eagerly.

    Attributes:
        refused: whether the step could not be captured, or the module computes something else.
    """

    def __init__(self, module: DistillationModule, trainer: L.Trainer) -> None:
        self.refused = type(module).compute is not DistillationModule.compute  # the graph holds this one's parts
        self._module = module
        self._trainer = trainer
        self._graph: GraphedCallable | None = None
        self._key: tuple[Any, ...] | None = None  # the non-tensor inputs of the graph
        self._trained: tuple[bool, ...] = ()
        self._replayed = False  # the current step has its gradients
        self._compute, self._backward, self._zero_grad = module.compute, module.backward, module.optimizer_zero_grad
        module.compute = self.compute  # type: ignore[method-assign]
        module.backward = self.backward  # type: ignore[method-assign]
        module.optimizer_zero_grad = self.optimizer_zero_grad  # type: ignore[method-assign]

    def remove(self) -> None:
        """Restore the module's hooks and free the graph with its gradients."""
        del self._module.compute, self._module.backward, self._module.optimizer_zero_grad
        if self._graph is not None:
            self._graph = self._key = None
            for parameter in self._module.parameters():
                parameter.grad = None

    def refresh_trained_parameters(self) -> None:
        """Update which parameters are trained; a callback may have changed it."""
        self._trained = tuple(p.requires_grad for p in self._module.parameters())

    def compute(self, batch: Batch, split: str) -> StepOutput:
        self._replayed = False
        if split != "train" or self.refused:
            return self._compute(batch, split)
        teacher = self._module.teacher_outputs(batch, split)  # first: its outputs are arguments of the graph
        graph = self._graph_for(batch, teacher)
        if graph is None:
            student, losses = self._module.student_losses(batch, teacher)
        else:
            self._replayed = True
            student, losses = graph(*_flat(batch, teacher))
        return StepOutput(student, teacher, losses)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        if not self._replayed:  # a replay includes the backward
            self._backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        if not self._replayed:  # Lightning calls this between the step and the backward
            self._zero_grad(epoch, batch_idx, optimizer)

    def _graph_for(self, batch: Batch, teacher: Outputs | None) -> GraphedCallable | None:
        trainer: Any = self._trainer
        if self.refused or len(batch.target) != trainer.datamodule.batch_size:
            return None
        if trainer.accumulate_grad_batches != 1 or not isinstance(batch.inputs, Tensor):
            return None
        criterion = self._module.criterion
        shapes = (batch.inputs.shape, batch.target.shape)
        key = (criterion.pretraining_term, shapes, self._trained, *criterion.scheduled.items())
        if self._key != key:
            self._graph, self._key = None, key
            try:
                self._graph = self._capture(batch, teacher)
            except Exception as error:  # torch and CUDA raise several kinds
                cuda_graphs.log_failure("the step", error)
                self.refused = True
        return self._graph

    def _capture(self, batch: Batch, teacher: Outputs | None) -> GraphedCallable:
        module, layers = self._module, list(teacher.features) if teacher is not None else []

        def step(inputs: Tensor, target: Tensor, index: Tensor, *tensors: Tensor) -> tuple[Outputs, Losses]:
            embedding = tensors[1 + len(layers)] if len(tensors) > 1 + len(layers) else None
            features = dict(zip(layers, tensors[1:], strict=False))
            static_teacher = Outputs(tensors[0], features, embedding) if tensors else None
            student, losses = module.student_losses(Batch(inputs, target, index), static_teacher)
            with torch.autocast(inputs.device.type, enabled=False):  # as Lightning's backward
                losses.total.backward()  # type: ignore[no-untyped-call]
            parts = {name: value.detach() for name, value in losses.parts.items()}
            return Outputs(student.logits.detach(), {}, None), Losses(losses.total.detach(), parts)

        trained = [p for p in module.parameters() if p.requires_grad]
        return GraphedCallable(step, _flat(batch, teacher), (module.student, module.criterion), trained)


def _flat(batch: Batch, teacher: Outputs | None) -> list[Tensor]:
    """All tensors of a student's step."""
    return [batch.inputs, batch.target, batch.index, *(teacher.tensors() if teacher is not None else [])]
