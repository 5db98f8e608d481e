"""A pretrained model's own eyes: it sees images in the size and normalisation that its weights were trained with."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

NOTE = "preprocess"  # in the metadata of a teacher's weights: with which it was trained, as JSON
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")
_SCALE, _SHIFT = "_preprocess_scale", "_preprocess_shift"  # buffers that no weights file holds
_OF_TORCHVISION = ("torchvision_model", "resnet18", "resnet34", "resnet50")
_TIMM_SOURCES = ("hf-hub:", "hf_hub:", "local-dir:")


@dataclass(frozen=True)
class OwnPreprocess:
    """How a model's inputs are prepared.

    Attributes:
        mean: per channel, of pixels in 0..1.
        std: likewise.
        size: the shorter side in pixels.
        interpolation: one of ``INTERPOLATIONS``.
    """

    mean: Sequence[float]
    std: Sequence[float]
    size: int
    interpolation: str

    def as_dict(self) -> dict[str, Any]:
        """Its fields in JSON's types."""
        return asdict(self) | {"mean": [float(x) for x in self.mean], "std": [float(x) for x in self.std]}

    def __str__(self) -> str:
        return f"{self.size}×{self.size} {self.interpolation}"


def published(node: Mapping[str, Any]) -> OwnPreprocess | None:
    """What torchvision or timm say about the weights of a model, none of which are loaded.

    Args:
        node: ``_target_`` and ``name``: one of the functions of ``distill.models``.

    Returns:
        None: a model without published weights, or a source on the hub.
    """
    function = str(node["_target_"]).rpartition(".")[2]
    name = str(node.get("name", function))
    if not str(node["_target_"]).startswith("distill.models."):
        return None
    if function == "timm_model":
        return None if name.startswith(_TIMM_SOURCES) else _of_timm(name)
    return _of_torchvision(name) if function in _OF_TORCHVISION else None


def _of_timm(name: str) -> OwnPreprocess | None:
    from timm.models import get_pretrained_cfg

    try:
        found = get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag: building the model says so
        return None
    if found is None or found.interpolation not in INTERPOLATIONS:
        return None
    return OwnPreprocess(tuple(found.mean), tuple(found.std), int(found.input_size[-1]), found.interpolation)


def _of_torchvision(name: str) -> OwnPreprocess | None:
    from torchvision.models import get_model_weights

    try:
        found = get_model_weights(name).DEFAULT.transforms()
    except ValueError:  # an unknown name: building the model says so
        return None
    return OwnPreprocess(tuple(found.mean), tuple(found.std), found.crop_size[0], found.interpolation.value)


def see_with(model: nn.Module, own: OwnPreprocess, mean: Sequence[float], std: Sequence[float]) -> None:
    """Lets a model take the data's normalised images and prepare them its own way, wherever it is called.

    x' = resize((x · std + mean − own.mean) / own.std), antialiased; a grey image's channel is repeated for each of the
    model's. Normalising comes first, in the smaller size: both are linear. A hook does it, so that the model's modules
    and weights stay as they are.

    Args:
        model: gets the hook.
        own: its own preprocessing.
        mean: with which the images that it is given are normalised, per channel.
        std: likewise.
    """
    given, wanted = ([torch.tensor(v).reshape(-1, 1, 1) for v in pair] for pair in ((mean, std), (own.mean, own.std)))
    model.register_buffer(_SCALE, (given[1] / wanted[1]).float(), persistent=False)
    model.register_buffer(_SHIFT, ((given[0] - wanted[0]) / wanted[1]).float(), persistent=False)
    model.register_forward_pre_hook(partial(_prepare, own), with_kwargs=True)


def preprocess_of(model: nn.Module) -> OwnPreprocess | None:
    """What :func:`see_with` gave a model; None: it sees what it is given."""
    hooks = (hook for hook in model._forward_pre_hooks.values() if isinstance(hook, partial))
    return next((hook.args[0] for hook in hooks if hook.func is _prepare), None)


def _prepare(own: OwnPreprocess, model: nn.Module, args: Any, kwargs: Any) -> Any:
    """A function of this file, no closure: a model with the hook can be copied and pickled."""
    scale, shift = getattr(model, _SCALE), getattr(model, _SHIFT)

    def prepare(x: Tensor) -> Tensor:
        x = x * scale + shift
        height, width = x.shape[2:]
        factor = own.size / min(height, width)
        size = [round(height * factor), round(width * factor)]
        if size == [height, width]:
            return x
        return F.interpolate(x, size, mode=own.interpolation, antialias=own.interpolation != "nearest")

    return tree_map_only(Tensor, prepare, (args, kwargs))
