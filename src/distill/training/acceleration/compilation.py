"""``torch.compile`` of student and teacher with a fallback to eager, and the choice of ``compile=auto``.

The choice depends on configuration and machine, never on a measurement: a resumed run makes the same one.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch._inductor.config
from torch import Tensor

from distill.distillation.feature_extractor import FeatureExtractor, FixedShapeForward
from distill.utils import distributed
from distill.utils.errors import first_line

log = logging.getLogger(__name__)
Context = Callable[[], AbstractContextManager[Any]]  # makes the autocast context of a training

# Multiply-accumulates of a whole training from which compiling is faster. On a CPU it takes up to a minute per model
# and saves a tenth to a fifth of a step; two cores with AVX512-BF16 do 10¹⁴ in about ten minutes.
CPU, CUDA = 1e14, 1e16


def choose(configured: Any, cuda: bool, macs: float) -> tuple[bool, str]:
    """Whether a model's training forward is compiled, and the words for the log.

    Args:
        configured: ``compile`` of the configuration: "auto", True or False.
        cuda: whether it runs on a CUDA device.
        macs: multiply-accumulates of its whole training, its teacher's forward included.

    Example:
        >>> choose("auto", False, 1e9)
        (False, 'eager (too short for compiling to pay)')
    """
    if distributed.is_distributed():
        return False, "eager (several processes)"
    if configured != "auto":
        return bool(configured), "compiled" if configured else "eager"
    if macs < (CUDA if cuda else CPU):
        return False, "eager (too short for compiling to pay)"
    return True, "compiled"


def reset() -> None:
    """Clear the code compiled for earlier trainings in this process: dynamo keeps eight versions of a function."""
    torch._dynamo.reset()
    torch._dynamo.config.skip_nnmodule_hook_guards = False  # extractors on one architecture differ in hooks alone


def compile_forward(extractor: FeatureExtractor, inputs: Tensor) -> None:
    """Compile the forward for inputs of this shape and the mode, train or eval, that the model is in."""
    compiled = torch.compile(extractor.eager, dynamic=False)
    extractor.fast_forward = FixedShapeForward(compiled, inputs.shape, extractor.model.training)


def compile_student(extractor: FeatureExtractor, inputs: Tensor, context: Context, name: str) -> None:
    """Compile forward and backward for training batches of this shape and run both once; fall back to eager.

    Weights, running statistics and gradients stay as they are.

    Args:
        extractor: of the student, in training mode.
        inputs: a full batch, on the device.
        context: the autocast context of the training.
        name: for the log.
    """
    buffers = {name: buffer.clone() for name, buffer in extractor.model.named_buffers()}
    gradients = [(parameter, parameter.grad) for parameter in extractor.model.parameters()]  # of accumulated steps
    for parameter, _ in gradients:
        parameter.grad = None

    def run_once() -> None:
        with torch.enable_grad(), context():
            outputs = extractor(inputs)
            total = torch.stack([value.float().sum() for value in (outputs.logits, *outputs.features.values())]).sum()
        torch.autograd.backward(total)

    try:
        _compile_and_run(extractor, inputs, run_once, name)
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for key, buffer in extractor.model.named_buffers():
                buffer.copy_(buffers[key])


def compile_teacher(extractor: FeatureExtractor, inputs: Tensor, context: Context, name: str) -> None:
    """Compile a frozen model's forward for batches of this shape and run it once; fall back to eager.

    On a CPU with inductor's ``freezing``: weights are constants, BatchNorm is folded into the convolutions.

    The arguments are those of :func:`compile_student`; the teacher is in eval mode.
    """

    def run_once() -> None:
        freezing = inputs.device.type == "cpu"  # an option of torch.compile would come too late: dynamo must know it
        with torch._inductor.config.patch(freezing=freezing), torch.no_grad(), context():
            extractor(inputs)

    _compile_and_run(extractor, inputs, run_once, name)


def _compile_and_run(extractor: FeatureExtractor, inputs: Tensor, run_once: Callable[[], None], name: str) -> None:
    compile_forward(extractor, inputs)
    try:
        run_once()
    except Exception as error:  # dynamo, inductor, the C++ compiler and triton raise different ones
        extractor.fast_forward = None
        log.info(f"{name} cannot be compiled and runs eagerly: {type(error).__name__}: {first_line(error)}")
