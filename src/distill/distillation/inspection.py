"""One dry forward of a model, and what it tells of its layers."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from distill.distillation.feature_extractor import INPUT, first_tensor, to_vectors
from distill.distillation.model_info import ModelInfo
from distill.models.interface import class_axis, logits_shape, unify
from distill.utils.errors import UserError, first_line
from distill.utils.inputs import described
from distill.utils.modes import evaluating

log = logging.getLogger(__name__)

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
AUXILIARY = "aux_classifier"  # torchvision's second head of a segmenter
SHORTCUTS = ("downsample", "shortcut")


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


def _run(
    model: nn.Module, modules: Mapping[str, nn.Module], example: Any, name: str, dims: int
) -> tuple[Tensor, dict[str, _Call]]:
    """The logits of one forward, and the calls of its modules.

    Raises:
        UserError: it fails, or gives no logits of so many dimensions.
    """
    try:
        with evaluating(model):
            logits, calls = _record(modules, lambda: model(example))
    except Exception as error:
        raise UserError(f"{name} cannot run on inputs {described(example)}: {first_line(error)}") from error
    if not isinstance(logits, Tensor) or logits.dim() != dims:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{name} must give logits of shape {logits_shape(dims)}, got {got}")
    axis = class_axis(dims)
    if logits.shape[axis] > 1 and logits.min() >= 0 and (logits.float().sum(axis) - 1).abs().max() < 1e-3:
        log.warning(
            f"{name} gives probabilities (every row sums to 1), and losses take its output for logits: "
            "let it return what its softmax reads"
        )
    return logits, calls


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
        dims: of the logits: 2 for (N, C), 3 for (N, L, C), 4 for (N, C, H, W).

    Raises:
        UserError: the model does not run on the example, or its output is not of shape (N, C).
    """
    unify(model, example, name, num_classes, training, dims)
    modules = {path: module for path, module in model.named_modules() if path}
    logits, calls = _run(model, modules, example, name, dims)
    shapes = {path: tuple(call.output.shape) for path, call in calls.items()}
    image = (example.shape[2], example.shape[3]) if isinstance(example, Tensor) and example.dim() == 4 else None
    channels_last = frozenset(path for path, shape in shapes.items() if image and _is_channels_last(shape, image))
    second = getattr(model, "auxiliary", AUXILIARY)
    second = second if isinstance(second, str) and isinstance(modules.get(second), nn.Module) else None
    own = {path: call for path, call in calls.items() if not second or not path.startswith(second)}
    head = head or _classifier(modules, own, logits)
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
        teacher_layers=taken if isinstance(taken := getattr(model, "teacher_layers", None), tuple) else (),
        auxiliary=second if dims == 4 else None,
    )


def _classifier(modules: Mapping[str, nn.Module], calls: dict[str, _Call], logits: Tensor) -> str | None:
    """The last linear layer or convolution with as many outputs as there are logits, called once."""
    for path, call in reversed(calls.items()):
        has_weights = isinstance(modules[path], nn.Linear | nn.Conv2d) and call.read is not None
        if has_weights and call.output.shape[:2] == logits.shape[:2] and call.number == 1:
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
