"""Taps: read the inner layers of any ``nn.Module`` by module path, without touching its code."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from distill.errors import UserError, first_line, nearest


class Outputs(NamedTuple):
    """What a tapped model gave for one batch: logits (N, C), features by module path, embedding (N, D) or None."""

    logits: Tensor
    features: dict[str, Tensor]
    embedding: Tensor | None


def _tensor(value: Any) -> Tensor | None:
    """The tensor a module returned: itself, or the first one of a tuple or list."""
    if isinstance(value, (tuple, list)):
        value = next((item for item in value if isinstance(item, Tensor)), None)
    return value if isinstance(value, Tensor) else None


def _vectors(x: Tensor | None) -> Tensor:
    """An embedding (N, D): maps (N, D, H, W) are averaged over H × W (a convolution is the head), others flattened."""
    assert x is not None, "the head was called without a tensor"
    return x.mean(dim=(2, 3)) if x.dim() == 4 else x.flatten(1)


class Tap:
    """Calls a model and gives :class:`Outputs`, through forward hooks on the layers asked for and on no others.

    A tap is no ``nn.Module``: it adds nothing to the model's module tree, ``state_dict`` or exported file.

    Args:
        model: any module whose forward gives logits.
        layers: module paths whose outputs are kept.
        head: module path of the classifier; its *input* is the embedding. None: no embedding.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str] = (), head: str | None = None) -> None:
        self.model = model
        self._features: dict[str, Tensor] | None = None  # None outside a call: other forwards leave nothing here
        self._embedding: Tensor | None = None
        modules = {path: model.get_submodule(path) for path in dict.fromkeys(layers)}
        self._hooks = [module.register_forward_hook(self._keeper(path)) for path, module in modules.items()]
        if head is not None:
            hook = model.get_submodule(head).register_forward_pre_hook(self._keep_embedding, with_kwargs=True)
            self._hooks.append(hook)

    def remove(self) -> None:
        """Takes the hooks off the model."""
        for hook in self._hooks:
            hook.remove()

    def _keeper(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def keep(_module: nn.Module, _args: Any, output: Any) -> None:
            tensor = _tensor(output)
            if tensor is not None and self._features is not None:
                self._features[path] = tensor

        return keep

    def _keep_embedding(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._features is not None:
            self._embedding = _vectors(_tensor([*args, *kwargs.values()]))

    def __call__(self, inputs: Any) -> Outputs:
        """One forward of the model; nothing of it is kept afterwards."""
        features: dict[str, Tensor] = {}
        self._features = features
        try:
            logits = self.model(inputs)
            return Outputs(logits, features, self._embedding)
        finally:
            self._features = self._embedding = None


@dataclass(frozen=True)
class Anatomy:
    """What one dry forward saw of a model.

    Attributes:
        name: how error messages call the model ("the student resnet8").
        shapes: output shape of every module that gave a tensor, by path, in the order in which they finished.
        calls: how often each module was called.
        stages: paths of the stages: stem, stage 1, … last (the model's own ``stages``, or found by map size).
        logits: shape of the model's output.
        head: path of the classifier, whose input is the embedding; None if none was found.
        embedding: shape of the embedding.
        overwritten: modules whose output a later one changes in place.
    """

    name: str
    shapes: dict[str, tuple[int, ...]]
    calls: dict[str, int]
    stages: tuple[str, ...]
    logits: tuple[int, ...]
    head: str | None
    embedding: tuple[int, ...] | None
    overwritten: frozenset[str] = frozenset()

    def layer(self, spec: int | str) -> str:
        """The module path that ``spec`` means: a stage's number (0 is the stem, -1 the last) or a path.

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
        if spec not in self.shapes:
            raise UserError(f"{self.name} has no layer '{spec}': {nearest(spec, self.shapes)}")
        if self.calls[spec] != 1:
            raise UserError(
                f"layer '{spec}' of {self.name} runs {self.calls[spec]} times in one forward: tap the layer around it"
            )
        if spec in self.overwritten:
            raise UserError(
                f"the output of layer '{spec}' of {self.name} is overwritten in place by a later layer: "
                "tap the layer around it, or the one that overwrites it"
            )
        return spec


def dissect(model: nn.Module, example: Any, name: str) -> Anatomy:
    """One dry forward (eval mode, no gradient, buffers untouched) that sees every layer's shape.

    Args:
        model: any module whose forward gives logits.
        example: a batch of inputs as the model takes them.
        name: how error messages call the model.

    Raises:
        UserError: the model does not run on the example, or its output is not of shape (N, C).
    """
    shapes: dict[str, tuple[int, ...]] = {}
    calls: dict[str, int] = {}
    versions: dict[str, tuple[Tensor, int]] = {}
    linear: dict[str, tuple[int, ...]] = {}  # convolutions and linear layers: the shape of what they read as vectors

    def see(path: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            tensor, read = _tensor(output), _tensor([*args, *kwargs.values()])
            if tensor is None:
                return
            shapes.pop(path, None)
            shapes[path] = tuple(tensor.shape)
            calls[path] = calls.get(path, 0) + 1
            versions[path] = (tensor, tensor._version)
            if isinstance(module, nn.Linear | nn.Conv2d) and read is not None:
                linear[path] = tuple(_vectors(read).shape)

        return hook

    handles = [
        module.register_forward_hook(see(path), with_kwargs=True) for path, module in model.named_modules() if path
    ]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            logits = model(example)
    except Exception as error:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise UserError(f"{name} cannot run on inputs {shape}: {first_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{name} must give logits of shape (N, C), got {got}")
    # The head: the last linear layer or convolution with as many outputs as there are logits.
    head = next(
        (path for path in reversed(shapes) if path in linear and shapes[path][:2] == logits.shape and calls[path] == 1),
        None,
    )
    overwritten = frozenset(path for path, (tensor, version) in versions.items() if tensor._version != version)
    stages = getattr(model, "stages", None) or _stages(model, shapes, head, example)
    return Anatomy(
        name, shapes, calls, tuple(stages), tuple(logits.shape), head, linear[head] if head else None, overwritten
    )


def _stages(model: nn.Module, shapes: dict[str, tuple[int, ...]], head: str | None, example: Any) -> list[str]:
    """Stages of a model that does not name them.

    timm's models list theirs (``feature_info``). Otherwise, for each size of map from large to small: of the layers
    that are nested least, the last one that gives this size. Only maps (N, C, H, W) of the image's proportions count,
    and nothing from the classifier on; a model without such maps has no stages.
    """
    info = getattr(model, "feature_info", None)
    if isinstance(info, list):
        return [entry["module"] for entry in info if entry.get("module") in shapes]
    if not isinstance(example, Tensor) or example.dim() != 4:
        return []
    height, width = example.shape[2:]
    classifier = head.partition(".")[0] if head else None
    chosen: dict[tuple[int, int], str] = {}
    for path, shape in shapes.items():
        if len(shape) != 4 or shape[2] * shape[3] <= 1 or path.partition(".")[0] == classifier:
            continue
        if abs(shape[2] * width - shape[3] * height) > max(height, width):
            continue  # channels last, or no map
        size = (shape[2], shape[3])
        if size not in chosen or path.count(".") <= chosen[size].count("."):
            chosen[size] = path
    return [path for _, path in sorted(chosen.items(), key=lambda item: -item[0][0] * item[0][1])]
