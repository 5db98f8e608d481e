"""A model's layers, their shapes, its stages and its classifier, from one dry forward."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from distill.distillation.feature_extractor import CHANNELS_LAST, INPUT, first_tensor, module_path, to_vectors
from distill.utils.errors import UserError, first_line, nearest
from distill.utils.modes import evaluating

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
SHORTCUTS = ("downsample", "shortcut")


@dataclass(frozen=True)
class ModelInfo:
    """Layers, shapes, stages and classifier of a model, as one dry forward recorded them.

    Attributes:
        name: how error messages call the model ("the student resnet8").
        shapes: output shape of every module that gave a tensor, by path, in the order in which they finished.
        calls: how often each module was called.
        stages: paths of the stages: stem, stage 1, … last (the model's ``stages``, or inferred from the sizes of maps).
        logits: shape of the model's output.
        head: path of the classifier, whose input is the embedding; None if there is none.
        embedding: shape of the embedding.
        overwritten: modules whose output a later one changes in place.
        inputs: shape of the tensor that every module read (its last call).
        channels_last: modules that give maps as (N, H, W, C).
        preactivations: of every module whose output an activation gives, or a BatchNorm reads, the key of the layer
            before the (next) activation.
        norms: of every module, the path of the BatchNorm2d before its (next) activation, where there is one.
        rectified: modules whose output was nowhere negative.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    calls: dict[str, int]
    stages: tuple[str, ...]
    logits: tuple[int, ...]
    head: str | None
    embedding: tuple[int, ...] | None
    overwritten: frozenset[str] = frozenset()
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    preactivations: dict[str, str] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    rectified: frozenset[str] = frozenset()

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of what an extractor returns for a layer's key."""
        path = module_path(key)
        if key.endswith(INPUT):
            return self.inputs[path]
        shape = self.shapes[path]
        return (shape[0], shape[3], shape[1], shape[2]) if key.endswith(CHANNELS_LAST) else shape

    def preactivation(self, spec: int | str) -> str:
        """The key of the layer before a stage's last activation; see :meth:`layer`.

        That is what the activation module reads which gives the stage's output; in a network that normalises and
        activates at the start of a stage, what the next BatchNorm makes of the output; else the output itself.

        Raises:
            UserError: as :meth:`layer`; or the output is nowhere negative and no activation module gives it.
        """
        key = self.layer(spec)
        if key in self.preactivations:
            return self.preactivations[key]
        if key in self.rectified:
            raise UserError(
                f"what comes before the activation of layer '{key}' of {self.name} cannot be told (its output is "
                "nowhere negative, and no module gives it): name the layer before the activation by module path"
            )
        return key

    def layer(self, spec: int | str) -> str:
        """The layer's key that ``spec`` means: a stage's number (0 is the stem, -1 the last), or a module path.

        Raises:
            UserError: no such stage or layer, or one that gives no single tensor per forward.
        """
        if isinstance(spec, bool) or not isinstance(spec, int | str):
            raise UserError(f"a layer of {self.name} is a stage's number or a module path, got {spec!r}")
        if isinstance(spec, int):
            if not self.stages:
                raise UserError(f"{self.name} has no known stages: name its layer by module path instead of {spec}")
            if not -len(self.stages) <= spec < len(self.stages):
                names = ", ".join(f"{i} = {path}" for i, path in enumerate(self.stages))
                raise UserError(f"{self.name} has no stage {spec}; its stages: {names}")
            spec = self.stages[spec]
        path = module_path(spec)
        if path not in self.shapes:
            raise UserError(f"{self.name} has no layer '{spec}': {nearest(path, self.shapes)}")
        if spec.endswith(INPUT):
            return spec
        spec = path
        if self.calls[spec] != 1:
            raise UserError(
                f"layer '{spec}' of {self.name} runs {self.calls[spec]} times in one forward: tap the layer around it"
            )
        if spec in self.overwritten:
            raise UserError(
                f"the output of layer '{spec}' of {self.name} is overwritten in place by a later layer: "
                "tap the layer around it, or the one that overwrites it"
            )
        return f"{spec}{CHANNELS_LAST}" if spec in self.channels_last else spec


@dataclass(frozen=True)
class NamedModel:
    """A model, its name and its :class:`ModelInfo`."""

    name: str
    model: nn.Module
    model_info: ModelInfo


class _Recorder:
    """A forward hook on every module of a model, while it is entered."""

    def __init__(self, model: nn.Module) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}  # of outputs, in the order of the last calls
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.calls: dict[str, int] = {}
        self.outputs: dict[str, tuple[Tensor, int]] = {}  # with their versions when they were returned
        self.read: dict[str, Tensor] = {}
        self.vectors: dict[str, tuple[int, ...]] = {}  # of linear layers and convolutions: their inputs as vectors
        self._modules = [(path, module) for path, module in model.named_modules() if path]

    def __enter__(self) -> "_Recorder":
        self._handles = [
            module.register_forward_hook(self._hook(path), with_kwargs=True) for path, module in self._modules
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, path: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tensor, read = first_tensor(output), first_tensor([*args, *kwargs.values()])
            if tensor is None:
                return
            self.shapes.pop(path, None)
            self.shapes[path] = tuple(tensor.shape)
            self.calls[path] = self.calls.get(path, 0) + 1
            self.outputs.pop(path, None)
            self.outputs[path] = (tensor, tensor._version)
            if read is not None:
                self.read[path], self.inputs[path] = read, tuple(read.shape)
            if isinstance(module, nn.Linear | nn.Conv2d) and read is not None:
                self.vectors[path] = tuple(to_vectors(read).shape)

        return hook

    def head(self, logits: torch.Size) -> str | None:
        """The last linear layer or convolution with as many outputs as there are logits, called once."""
        for path in reversed(self.shapes):
            if path in self.vectors and self.shapes[path][:2] == logits and self.calls[path] == 1:
                return path
        return None


def inspect_model(model: nn.Module, example: Any, name: str) -> ModelInfo:
    """One dry forward (eval mode, no gradient, buffers untouched) that records every layer's shape.

    Args:
        model: any module whose forward returns logits.
        example: a batch of inputs as the model takes them.
        name: how error messages call the model.

    Raises:
        UserError: the model does not run on the example, or its output is not of shape (N, C).
    """
    try:
        with _Recorder(model) as recorded, evaluating(model):
            logits = model(example)
    except Exception as error:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise UserError(f"{name} cannot run on inputs {shape}: {first_line(error)}") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{name} must give logits of shape (N, C), got {got}")
    shapes, outputs, head = recorded.shapes, recorded.outputs, recorded.head(logits.shape)
    preactivations, norms = _before_activation(model, outputs, recorded.read)
    channels_last = frozenset(path for path, shape in shapes.items() if _is_channels_last(shape, example))
    return ModelInfo(
        name=name,
        shapes=shapes,
        calls=recorded.calls,
        stages=tuple(getattr(model, "stages", None) or _stages(model, shapes, channels_last, head, example)),
        logits=tuple(logits.shape),
        head=head,
        embedding=recorded.vectors[head] if head else None,
        overwritten=frozenset(path for path, (tensor, version) in outputs.items() if tensor._version != version),
        inputs=recorded.inputs,
        channels_last=channels_last,
        preactivations=preactivations,
        norms=norms,
        rectified=frozenset(p for p, (x, _) in outputs.items() if x.is_floating_point() and x.min() >= 0),
    )


def _before_activation(
    model: nn.Module, outputs: dict[str, tuple[Tensor, int]], read: dict[str, Tensor]
) -> tuple[dict[str, str], dict[str, str]]:
    """``preactivations`` and ``norms`` of an :class:`ModelInfo`. Tensors are told apart by identity."""
    modules = dict(model.named_modules())
    order = list(outputs)  # in which the modules finished
    activation = {id(outputs[path][0]): path for path in order if isinstance(modules[path], ACTIVATIONS)}
    batch_norms = [path for path in order if isinstance(modules[path], nn.BatchNorm2d)]
    reader = {id(read[path]): path for path in reversed(batch_norms) if path in read}
    preactivations: dict[str, str] = {}
    norms: dict[str, str] = {}
    for path in order:
        output = outputs[path][0]
        if id(output) in activation:
            end = activation[id(output)]
            preactivations[path] = f"{end}{INPUT}"
        elif id(output) in reader and not isinstance(modules[path], nn.Conv2d):  # conv → BN → ReLU is no stage's end
            preactivations[path] = norms[path] = reader[id(output)]
            continue
        else:
            end = path
        width = output.shape[1] if output.dim() == 4 else None
        done = set(order[: order.index(end) + 1])
        norm = next((p for p in reversed(batch_norms) if p in done and _is_main(p, modules[p], width)), None)
        if norm is not None:
            norms[path] = norm
    return preactivations, norms


def _is_main(path: str, norm: nn.Module, width: int | None) -> bool:
    """Whether a BatchNorm has as many channels and stands in no shortcut."""
    named_so = any(word in part for part in path.lower().split(".") for word in SHORTCUTS)
    return isinstance(norm, nn.BatchNorm2d) and norm.num_features == width and not named_so


def _keeps_proportions(height: int, width: int, example: Tensor) -> bool:
    return abs(height * example.shape[3] - width * example.shape[2]) <= max(example.shape[2:])


def _is_channels_last(shape: tuple[int, ...], example: Any) -> bool:
    """Whether a shape of four dimensions is a map (N, H, W, C): H × W has the image's proportions, W × C has not."""
    if len(shape) != 4 or not isinstance(example, Tensor) or example.dim() != 4:
        return False
    return _keeps_proportions(shape[1], shape[2], example) and not _keeps_proportions(shape[2], shape[3], example)


def _stages(
    model: nn.Module,
    shapes: dict[str, tuple[int, ...]],
    channels_last: frozenset[str],
    head: str | None,
    example: Any,
) -> list[str]:
    """Stages of a model that does not name them.

    timm's models list theirs (``feature_info``). Otherwise, for each size of map from large to small: of the layers
    that are nested least, the last one that gives this size. Only maps of the image's proportions count, and nothing
    from the classifier on; a model without such maps has no stages.
    """
    info = getattr(model, "feature_info", None)
    if isinstance(info, list):
        return [entry["module"] for entry in info if entry.get("module") in shapes]
    if not isinstance(example, Tensor) or example.dim() != 4:
        return []
    classifier = head.partition(".")[0] if head else None
    chosen: dict[tuple[int, int], str] = {}
    for path, shape in shapes.items():
        size = (shape[1], shape[2]) if path in channels_last else (shape[2], shape[3]) if len(shape) == 4 else (0, 0)
        if size[0] * size[1] <= 1 or path.partition(".")[0] == classifier:
            continue
        if not _keeps_proportions(*size, example):
            continue
        if size not in chosen or path.count(".") <= chosen[size].count("."):
            chosen[size] = path
    return [path for _, path in sorted(chosen.items(), key=lambda item: -item[0][0] * item[0][1])]
