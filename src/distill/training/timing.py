"""Steps of a training, timed before it begins; models, generators and gradients stay as they were."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from distill.training.optimization import OptimizerFactory, fused
from distill.training.plan import TrainingStage
from distill.utils.modes import frozen
from distill.utils.precision import context
from distill.utils.profiling import size


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Training mode; afterwards modes, buffers (running statistics) and torch's generators are as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _forward_backward(model: nn.Module, batch: Any, precision: Any) -> tuple[Tensor | None, ...]:
    """The gradients of the parameters that have any."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.enable_grad(), context(precision, "cpu"):
        outputs = [leaf for leaf in tree_leaves(model(batch)) if isinstance(leaf, Tensor) and leaf.requires_grad]
        loss = sum(output.float().square().mean() for output in outputs)
    return torch.autograd.grad(loss, trained, allow_unused=True) if isinstance(loss, Tensor) else ()


class Step:
    """The step of one training on a batch of noise, on a CPU.

    Args:
        stage: the training.
        macs: multiply-accumulates of a timed step, at most; fewer samples are then taken than the batch has.
    """

    def __init__(self, stage: TrainingStage, macs: float) -> None:
        self.stage, data = stage, stage.data
        self.students = [net.model for net in (stage.student, *stage.peers)]
        self.teachers = [net.model for net in stage.teachers] if stage.criterion.needs_teacher else []
        each = [3 * size(model, data.example(1)).macs for model in self.students]
        each += [size(model, data.of_teacher().example(1)).macs for model in self.teachers]
        self.samples = max(min(2, data.batch_size), min(data.batch_size, int(macs / max(1, sum(each)))))
        self.batch, self.teacher_batch = data.example(self.samples), data.of_teacher().example(self.samples)

    def seconds(self) -> float:
        """Of the forwards and backwards, for ``samples``."""
        begin = time.perf_counter()
        for model in self.teachers:
            with frozen(model), context(self.stage.teacher_precision(model), "cpu"):
                model(self.teacher_batch)
        for model in self.students:
            with _untouched(model):
                _forward_backward(model, self.batch, self.stage.precision)
        return time.perf_counter() - begin

    def update_seconds(self) -> float:
        """Of the optimizer's step, the second one: the first makes its state."""
        return sum(_update_seconds(model, self.stage.optimizer) for model in self.students)


def _update_seconds(model: nn.Module, optimizer: OptimizerFactory) -> float:
    parameters = [nn.Parameter(each.detach().clone()) for each in model.parameters() if each.requires_grad]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    update, begin = optimizer(parameters, **fused(optimizer, parameters)), 0.0
    for _ in range(2):
        begin = time.perf_counter()
        update.step()
    return time.perf_counter() - begin
