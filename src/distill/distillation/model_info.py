"""A model's layers, their shapes, its stages and its classifier, from one dry forward."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from distill.distillation.feature_extractor import CHANNELS_LAST, INPUT, first_tensor, module_path, to_vectors
from distill.models.interface import AXES, unify
from distill.utils.errors import UserError, first_line, nearest
from distill.utils.inputs import described
from distill.utils.modes import evaluating

log = logging.getLogger(__name__)

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
        attention: of every encoder layer of a transformer, the paths of its projections to queries, keys and values.
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
    attention: tuple[tuple[str, ...], ...] = ()

    def projections(self, layer: int | str) -> list[str]:
        """Keys of a layer's projections to queries, keys and values.

        Args:
            layer: its number, from 0; negative: from the end.

        Raises:
            UserError: the model has no such layer, or none whose projections are modules of their own.
        """
        if not self.attention:
            raise UserError(f"{self.name} has no attention whose queries, keys and values are layers of their own")
        if isinstance(layer, bool) or not isinstance(layer, int):
            raise UserError(f"a layer whose attention is read is a number, got {layer!r}")
        if not -len(self.attention) <= layer < len(self.attention):
            raise UserError(f"{self.name} has no layer {layer}; its encoder has {len(self.attention)} of them, from 0")
        return list(self.attention[layer])

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
        if self.calls[path] != 1:
            raise UserError(
                f"layer '{path}' of {self.name} runs {self.calls[path]} times in one forward: tap the layer around it"
            )
        if path in self.overwritten:
            raise UserError(
                f"the output of layer '{path}' of {self.name} is overwritten in place by a later layer: "
                "tap the layer around it, or the one that overwrites it"
            )
        return f"{path}{CHANNELS_LAST}" if path in self.channels_last else path


@dataclass(frozen=True)
class NamedModel:
    """A model, its name and its :class:`ModelInfo`."""

    name: str
    model: nn.Module
    model_info: ModelInfo

    @property
    def without(self) -> str | None:
        """Path of the classifier that was taken off; None: the model is whole."""
        head = self.model_info.head
        return head if head and isinstance(self.model.get_submodule(head), nn.Identity) else None


class _Call(NamedTuple):
    """The last call of a module: the tensors that it returned and read, and the number of its calls."""

    output: Tensor
    version: int  # of the output when it was returned; operations in place change it
    read: Tensor | None
    number: int


def _record(modules: Mapping[str, nn.Module], forward: Callable[[], Any]) -> tuple[Any, dict[str, _Call]]:
    """What ``forward`` returns, and the last call of every module that returned a tensor, in their order."""
    calls: dict[str, _Call] = {}

    def hook(path: str, _module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        tensor, read = first_tensor(output), first_tensor([*args, *kwargs.values()])
        if tensor is not None:
            earlier = calls.pop(path, None)
            read = earlier.read if read is None and earlier else read
            calls[path] = _Call(tensor, tensor._version, read, 1 + (earlier.number if earlier else 0))

    handles = [module.register_forward_hook(partial(hook, path), with_kwargs=True) for path, module in modules.items()]
    try:
        return forward(), calls
    finally:
        for handle in handles:
            handle.remove()


def inspect_model(
    model: nn.Module,
    example: Any,
    name: str,
    num_classes: int | None = None,
    training: bool | int = False,
    head: str | None = None,
    dims: int = 2,
) -> ModelInfo:
    """One dry forward (eval mode, no gradient, buffers untouched) that records every layer's shape.

    A model that does not map float32 inputs to logits alone gets hooks, see ``distill.models.interface``. One that
    gives probabilities is warned of.

    Args:
        model: any module whose forward returns logits, alone or among others.
        example: a batch of inputs as the model takes them.
        name: how error messages call the model.
        num_classes: C, where it is known.
        training: whether the model is to be trained; a number: in batches that may be as small.
        head: path of the classifier, or of what stands in its place; None: it is looked for.
        dims: of the logits: 2 for (N, C), 3 for (N, L, C).

    Raises:
        UserError: the model does not run on the example, or its output is not of shape (N, C).
    """
    unify(model, example, name, num_classes, training, dims)
    modules = {path: module for path, module in model.named_modules() if path}
    try:
        with evaluating(model):
            logits, calls = _record(modules, lambda: model(example))
    except Exception as error:
        raise UserError(f"{name} cannot run on inputs {described(example)}: {first_line(error)}") from error
    if not isinstance(logits, Tensor) or logits.dim() != dims:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{name} must give logits of shape ({AXES[dims]}, C), got {got}")
    if logits.shape[-1] > 1 and logits.min() >= 0 and (logits.float().sum(-1) - 1).abs().max() < 1e-3:
        log.warning(
            f"{name} gives probabilities (every row sums to 1), and losses take its output for logits: "
            "let it return what its softmax reads"
        )
    shapes = {path: tuple(call.output.shape) for path, call in calls.items()}
    image = (example.shape[2], example.shape[3]) if isinstance(example, Tensor) and example.dim() == 4 else None
    channels_last = frozenset(path for path, shape in shapes.items() if image and _is_channels_last(shape, image))
    head = head or _classifier(modules, calls, logits)
    preactivations, norms = _before_activation(modules, calls)
    return ModelInfo(
        name=name,
        shapes=shapes,
        calls={path: call.number for path, call in calls.items()},
        stages=tuple(getattr(model, "stages", None) or _stages(model, shapes, channels_last, head, image)),
        logits=tuple(logits.shape),
        head=head,
        embedding=tuple(to_vectors(calls[head].read).shape) if head else None,
        overwritten=frozenset(path for path, call in calls.items() if call.output._version != call.version),
        inputs={path: tuple(call.read.shape) for path, call in calls.items() if call.read is not None},
        channels_last=channels_last,
        preactivations=preactivations,
        norms=norms,
        rectified=frozenset(path for path, (x, *_) in calls.items() if x.is_floating_point() and x.min() >= 0),
        attention=attention if isinstance(attention := getattr(model, "attention", None), tuple) else (),
    )


def _classifier(modules: Mapping[str, nn.Module], calls: dict[str, _Call], logits: Tensor) -> str | None:
    """The last linear layer or convolution with as many outputs as there are logits, called once."""
    for path, call in reversed(calls.items()):
        has_weights = isinstance(modules[path], nn.Linear | nn.Conv2d) and call.read is not None
        if has_weights and call.output.shape[:2] == logits.shape and call.number == 1:
            return path
    return None


def _before_activation(
    modules: Mapping[str, nn.Module], calls: dict[str, _Call]
) -> tuple[dict[str, str], dict[str, str]]:
    """``preactivations`` and ``norms`` of a :class:`ModelInfo`. Tensors are told apart by identity."""
    position = {path: i for i, path in enumerate(calls)}  # in which the modules finished
    activation = {id(call.output): path for path, call in calls.items() if isinstance(modules[path], ACTIVATIONS)}
    batch_norms = {path: norm for path in reversed(calls) if isinstance(norm := modules[path], nn.BatchNorm2d)}
    reader = {id(calls[path].read): path for path in batch_norms}
    main = {path: norm for path, norm in batch_norms.items() if not any(word in path.lower() for word in SHORTCUTS)}
    preactivations: dict[str, str] = {}
    norms: dict[str, str] = {}
    for path, (output, *_) in calls.items():
        end = activation.get(id(output), path)
        if id(output) in activation:
            preactivations[path] = f"{end}{INPUT}"
        elif id(output) in reader and not isinstance(modules[path], nn.Conv2d):  # conv → BN → ReLU is no stage's end
            preactivations[path] = norms[path] = reader[id(output)]
            continue
        width = output.shape[1] if output.dim() == 4 else None
        for norm_path, norm in main.items():
            if position[norm_path] <= position[end] and norm.num_features == width:
                norms[path] = norm_path
                break
    return preactivations, norms


def _keeps_proportions(height: int, width: int, image: tuple[int, int]) -> bool:
    return abs(height * image[1] - width * image[0]) <= max(image)


def _is_channels_last(shape: tuple[int, ...], image: tuple[int, int]) -> bool:
    """Whether a shape of four dimensions is a map (N, H, W, C): H × W has the image's proportions, W × C has not."""
    return (
        len(shape) == 4
        and _keeps_proportions(shape[1], shape[2], image)
        and not _keeps_proportions(shape[2], shape[3], image)
    )


def _stages(
    model: nn.Module,
    shapes: Mapping[str, tuple[int, ...]],
    channels_last: frozenset[str],
    head: str | None,
    image: tuple[int, int] | None,
) -> list[str]:
    """Stages of a model that does not name them.

    timm's models list theirs (``feature_info``). Otherwise, for each size of map from large to small: of the layers
    that are nested least, the last one that gives this size. Only maps of the image's proportions count, and nothing
    from the classifier on; a model without such maps has no stages.
    """
    info = getattr(model, "feature_info", None)
    if isinstance(info, list):
        return [entry["module"] for entry in info if entry.get("module") in shapes]
    if image is None:
        return []
    classifier = head.partition(".")[0] if head else None
    layers: dict[tuple[int, int], str] = {}  # by the size of their maps
    for path, shape in shapes.items():
        if len(shape) != 4 or path.partition(".")[0] == classifier:
            continue
        height, width = shape[1:3] if path in channels_last else shape[2:]
        if height * width <= 1 or not _keeps_proportions(height, width, image):
            continue
        if (height, width) not in layers or path.count(".") <= layers[height, width].count("."):
            layers[height, width] = path
    return [path for _, path in sorted(layers.items(), key=lambda item: -item[0][0] * item[0][1])]
