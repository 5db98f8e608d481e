"""Makes any classifier a function of float32 inputs to logits (N, C) that changes nothing else.

Most models are that already. What one of them does otherwise is seen in a dry forward of each mode that is needed, and
hooks on the model make up for it, so that training, measurement, export and prediction alike call the model itself.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map_only

from distill.utils.errors import UserError, first_line
from distill.utils.inputs import described, first_samples, num_samples
from distill.utils.modes import evaluating

log = logging.getLogger(__name__)
NAMED = ("logits", "out")  # how models call their logits among others; the second torchvision, for maps
PLAIN = (bool, int, float, str, type(None))


def unify(
    model: nn.Module,
    example: Any,
    name: str,
    num_classes: int | None = None,
    training: bool | int = False,
    dims: int = 2,
) -> None:
    """Puts hooks on a model that gives other than logits (N, C), changes its input, or computes in another type.

    Args:
        model: is called with inputs alone; its lazy modules get their shapes.
        example: a batch of inputs.
        name: how error messages call the model.
        num_classes: C, where it is known.
        training: look at a forward in training mode, too; weights, buffers and random generators stay as they are.
            A number: of at most so many samples.
        dims: of the logits: 2 for (N, C); 3 for (N, L, C) and 4 for (N, C, H, W), which a model must give as they are.

    Raises:
        UserError: the model does not run on the example, gives no logits that can be told, or has nothing to train.
    """
    one = tree_map_only(Tensor, lambda x: x[:1].clone(), example)
    floating = {p.dtype for p in model.parameters() if p.is_floating_point()}
    dtype = next(iter(floating)) if len(floating) == 1 and torch.float32 not in floating else None
    if dtype is not None:
        model.register_forward_pre_hook(partial(_cast, dtype), with_kwargs=True)
    try:
        with evaluating(model):
            pass
    except Exception as error:  # of a graph that torch.export made
        raise UserError(f"{name} has no modes for training and evaluation: {first_line(error)}") from error
    with evaluating(model):
        unusual, num_classes = _difference(model, one, name, "", num_classes, dims)
    if training:
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise UserError(f"{name} has no parameter that is trained: requires_grad is False everywhere")
        batch = example if training is True else first_samples(example, training)
        keeps_nothing = torch.autograd.graph.saved_tensors_hooks(lambda _: None, lambda _: torch.empty(0))
        with _unchanged(model), torch.enable_grad(), keeps_nothing:
            model.train()
            for module in model.modules():
                if isinstance(module, nn.SyncBatchNorm):  # it is no module of a CPU
                    module.eval()
            unusual = _difference(model, batch, name, " in training mode", num_classes, dims)[0] or unusual
    if unusual:
        log.info(f"{name} {unusual}")
        model.register_forward_pre_hook(_copy_inputs, prepend=True, with_kwargs=True)
        model.register_forward_hook(partial(_give_logits, num_classes, dims), with_kwargs=True)


def class_axis(dims: int) -> int:
    """The axis of the classes of logits of so many dimensions: of maps the second, else the last."""
    return 1 if dims == 4 else -1


def logits_shape(dims: int, num_classes: int | None = None) -> str:
    """The shape of logits of so many dimensions, as error messages show it."""
    classes = num_classes or "C"
    return {2: f"(N, {classes})", 3: f"(N, L, {classes})", 4: f"(N, {classes}, H, W)"}[dims]


def check_output(model: nn.Module, inputs: Any, name: str) -> None:
    """A UserError for a model that gives NaN for these inputs in evaluation mode: its scores would look like chance."""
    with evaluating(model), torch.random.fork_rng(devices=[]), torch.no_grad():
        output = model(tree_map_only(Tensor, torch.clone, inputs))
    if isinstance(output, Tensor) and output.isnan().any():
        raise UserError(
            f"{name} gives NaN for the first training inputs in evaluation mode: look at its forward, and at the "
            "running statistics of its normalisation"
        )


def remove_hooks(model: nn.Module) -> Callable[[], None]:
    """Takes the hooks of :func:`unify` off a model; the returned function puts them back."""
    removed = [
        (hooks, key, hook)
        for hooks in (model._forward_pre_hooks, model._forward_hooks)
        for key, hook in hooks.items()
        if getattr(hook, "func", hook) in (_cast, _copy_inputs, _give_logits)
    ]
    for hooks, key, _ in removed:
        del hooks[key]

    def put_back() -> None:
        for hooks, key, hook in removed:
            hooks[key] = hook

    return put_back


def _difference(
    model: nn.Module, inputs: Any, name: str, mode: str, num_classes: int | None, dims: int
) -> tuple[str, int]:
    """What one forward does besides giving logits (N, C) in float32, for the log ("" where nothing), and C."""
    copies = tree_map_only(Tensor, torch.clone, inputs)
    before = tree_leaves(inputs)
    try:
        output = model(copies)
    except Exception as error:
        raise UserError(f"{name} cannot run on inputs {described(inputs)}{mode}: {first_line(error)}") from error
    logits = logits_of(output, num_samples(inputs), num_classes, dims)
    if logits is None:
        other = logits_of(output, num_samples(inputs), None, dims)
        if other is not None and num_classes is not None:
            given = other.shape[class_axis(dims)]
            raise UserError(f"{name} gives {given} logits{mode}, and the data have {num_classes} classes")
        of_images = dims == 4 and logits_of(output, num_samples(inputs)) is not None
        advice = ": it classifies whole images; unet_tiny, lraspp, segformer give a class per pixel" * of_images
        wanted = logits_shape(dims, num_classes)
        raise UserError(f"{name} must give logits of shape {wanted}{mode}, got {_described(output)}{advice}")
    if torch.is_grad_enabled() and not logits.requires_grad:
        raise UserError(
            f"{name} gives logits{mode} that no trained parameter has a gradient of: is there a no_grad() or detach()?"
        )
    after, difference = tree_leaves(copies), ""
    if not isinstance(output, Tensor):
        difference = f"gives {_described(output)}{mode}: only the logits {tuple(logits.shape)} are used"
    elif any(isinstance(old, Tensor) and not torch.equal(old, new) for old, new in zip(before, after, strict=True)):
        difference = f"changes its input in place{mode}: it gets a copy"
    elif logits is not output:
        difference = "gives logits without the dimension of a single sample or output: it is put back"
    elif logits.dtype == torch.float64:
        difference = "computes in float64: its logits are taken in float32"
    return difference, logits.shape[class_axis(dims)]


def logits_of(output: Any, samples: int, num_classes: int | None = None, dims: int = 2) -> Tensor | None:
    """The logits (N, C) among what a model returned; None where there are none, or it cannot be told which.

    Those called "logits", of maps also "out"; else of that shape the first in a tuple or list, the only one in a dict
    or dataclass.

    Args:
        output: a tensor, a tuple or list, a dict or dataclass (``ModelOutput``).
        samples: N. The logits of one sample may lack its dimension.
        num_classes: C; None: any.
        dims: 2, 3 for (N, L, C), or 4 for (N, C, H, W).
    """
    items = _items(output)
    if named := [name for name in NAMED[: 1 + (dims == 4)] if isinstance(items.get(name), Tensor)]:
        items = {named[0]: items[named[0]]}
    fitting = [
        logits for value in items.values() if (logits := _as_batch(value, samples, num_classes, dims)) is not None
    ]
    in_order = isinstance(output, tuple | list)
    sizes = {x.shape[class_axis(dims)] for x in fitting}
    if not fitting or (len(sizes) > 1 if in_order else len(fitting) > 1):
        return None
    return fitting[0]


def _items(output: Any) -> dict[Any, Any]:
    """What a model returned, by name or position."""
    if isinstance(output, Mapping):
        return dict(output)
    if is_dataclass(output):
        return {field.name: getattr(output, field.name) for field in fields(output)}
    if isinstance(output, tuple | list):
        return dict(zip(getattr(output, "_fields", range(len(output))), output, strict=True))
    return {"logits": output}


def _as_batch(value: Any, samples: int, num_classes: int | None, dims: int) -> Tensor | None:
    """A tensor (N, C); of one sample also (C,), of one output also (N,)."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return None
    batch = value
    if value.dim() == 1 and dims == 2:
        batch = value[:, None] if num_classes == 1 else value[None] if samples == 1 else value
    if batch.dim() != dims or (samples and batch.shape[0] != samples):
        return None
    return batch if num_classes in (None, batch.shape[class_axis(dims)]) else None


def _described(output: Any) -> str:
    """A model's output with the shapes of its tensors."""

    def shape(value: Any) -> str:
        if not isinstance(value, Tensor):
            return type(value).__name__
        kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
        return f"{tuple(value.shape)}{kind}"

    if isinstance(output, Tensor):
        return shape(output)
    return f"a {type(output).__name__} of {', '.join(f'{k}: {shape(v)}' for k, v in _items(output).items())}"


# The hooks are functions of this file, no closures: a model with hooks can be copied and pickled.


def _cast(dtype: torch.dtype, _module: nn.Module, args: Any, kwargs: Any) -> Any:
    def cast(x: Tensor) -> Tensor:
        return x.to(dtype) if x.is_floating_point() else x

    return tree_map_only(Tensor, cast, (args, kwargs))


def _copy_inputs(_module: nn.Module, args: Any, kwargs: Any) -> Any:
    return tree_map_only(Tensor, torch.clone, (args, kwargs))


def _give_logits(num_classes: int | None, dims: int, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
    logits = logits_of(output, num_samples((args, kwargs)), num_classes, dims)
    if logits is None:  # of a model that a wrapper took the classifier from
        return output
    if dims == 2:
        logits = logits.reshape(-1, logits.shape[1])  # an exported graph may drop the dimension of one sample
    return logits.float() if logits.dtype == torch.float64 else logits


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Whatever runs inside leaves modes, plain attributes, weights, buffers and random generators as they were."""
    modules = [(module, {k: v for k, v in vars(module).items() if isinstance(v, PLAIN)}) for module in model.modules()]
    tensors: list[tuple[dict[str, Any], str, Tensor, Tensor]] = [
        (store, key, tensor, tensor.detach().clone())
        for module, _ in modules
        for store in cast(list[dict[str, Any]], [module._parameters, module._buffers])
        for key, tensor in store.items()
        if tensor is not None and not is_lazy(tensor)
    ]
    devices = {tensor.device for *_, tensor, _ in tensors if tensor.is_cuda}
    with isolate_rng(include_cuda=False), torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            for module, attributes in modules:
                vars(module).update(attributes)
            with torch.no_grad():
                for store, key, tensor, value in tensors:
                    store[key] = tensor  # a forward may have put another there
                    tensor.copy_(value)
