"""What ``compile=auto`` means, and compilation that is tried before it is relied on.

The answer is a function of the configuration and the machine, never of a measurement: a run and its continuation
choose alike.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch._inductor.config
from torch import Tensor

from distill.distillation.feature_extractor import FeatureExtractor
from distill.utils import distributed
from distill.utils.errors import first_line

# Multiply-accumulates of a whole training from which compiling pays. On a CPU it takes up to a minute per model and
# saves a tenth to a fifth of a step: two cores with AVX512-BF16 do 10¹⁴ in about ten minutes.
CPU, CUDA = 1e14, 1e16


def choose(asked: Any, cuda: bool, macs: float) -> tuple[bool, str]:
    """Whether a model's training forward is compiled, and how the line says it.

    Args:
        asked: ``compile`` of the configuration: "auto", True or False.
        cuda: whether it runs on a CUDA device.
        macs: multiply-accumulates of its whole training, its teacher's forward included.

    Example:
        >>> choose("auto", False, 1e9)
        (False, 'eager (too short for compiling to pay)')
    """
    if distributed.is_distributed():
        return False, "eager (several processes)"
    if asked != "auto":
        return bool(asked), "compiled" if asked else "eager"
    if macs < (CUDA if cuda else CPU):
        return False, "eager (too short for compiling to pay)"
    return True, "compiled"


def begin() -> None:
    """Forgets what was compiled for an earlier training in this process: dynamo keeps eight versions of a function."""
    torch._dynamo.reset()
    torch._dynamo.config.skip_nnmodule_hook_guards = False  # two taps on one architecture differ in their hooks alone


def compile_student(
    extractor: FeatureExtractor, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]], name: str
) -> None:
    """Compiles forward and backward for training batches of this shape, and runs both once; falls back to eager.

    Neither weights nor running statistics nor gradients are changed.

    Args:
        extractor: of the student, in training mode.
        inputs: a whole batch, on the device.
        context: the precision's.
        name: how the line calls it.
    """
    buffers = {name: buffer.clone() for name, buffer in extractor.model.named_buffers()}
    gradients = [(parameter, parameter.grad) for parameter in extractor.model.parameters()]  # of steps that add up
    for parameter, _ in gradients:
        parameter.grad = None

    def once() -> None:
        with torch.enable_grad(), context():
            outputs = extractor(inputs)
            total = torch.stack([value.float().sum() for value in (outputs.logits, *outputs.features.values())]).sum()
        torch.autograd.backward(total)

    try:
        _tried(extractor, inputs, once, name)
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient
        with torch.no_grad():
            for key, buffer in extractor.model.named_buffers():
                buffer.copy_(buffers[key])


def compile_teacher(
    extractor: FeatureExtractor, inputs: Tensor, context: Callable[[], AbstractContextManager[Any]], name: str
) -> None:
    """Compiles a frozen model's forward for batches of this shape, and runs it once; falls back to eager.

    On a CPU its weights become constants of the code: BatchNorm is folded into the convolutions, whose weights are
    converted to the precision and laid out for the hardware once (inductor's ``freezing``).

    Args:
        extractor: of the teacher, in eval mode.
        inputs: a whole batch, on the device.
        context: the precision's.
        name: how the line calls it.
    """

    def once() -> None:
        folded = inputs.device.type == "cpu"  # an option of torch.compile would come too late: dynamo must know it
        with torch._inductor.config.patch(freezing=folded), torch.no_grad(), context():
            extractor(inputs)

    _tried(extractor, inputs, once, name)


def _tried(extractor: FeatureExtractor, inputs: Tensor, once: Callable[[], None], name: str) -> None:
    extractor.compile(inputs)
    try:
        once()
    except Exception as error:  # dynamo, inductor, the C++ compiler and triton each raise their own
        extractor.eager()
        print(f"{name} cannot be compiled and runs eagerly: {type(error).__name__}: {first_line(error)}", flush=True)
