"""Any classification model of torchvision or timm, by name, fitted to the data's classes, channels and image size."""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from distill.models.checks import check_sizes
from distill.utils.arguments import refusal
from distill.utils.errors import UserError, nearest

_BAD_ARGUMENT = re.compile(
    r"(?:unexpected keyword argument(?:\(s\):)?|multiple values for (?:keyword )?argument) \[?'(\w+)'"
)
_BUILT_TO_SIZE: WeakSet[nn.Module] = WeakSet()  # models of timm that were given the image's size
_TIMM_SOURCES = ("hf-hub:", "hf_hub:", "local-dir:")
_MESSAGE_LENGTH = 300


def torchvision_model(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    image_size: int | None = None,
    pretrained: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """Build a classification model of torchvision whose head and first convolution fit the data.

    With ``pretrained`` the last layer is new wherever ``num_classes`` is not the weights' 1000, and the first
    convolution's RGB weights are summed over the colours and divided by ``in_channels``, the same for each channel:
    a grey image gives the response that it gave as RGB with equal channels. Without ``pretrained``, a first
    convolution for other than 3 channels is drawn so that its responses keep their variance.
    ``googlenet`` and ``inception_v3`` come without auxiliary heads, so that they return logits in training too.

    Args:
        name: A name of ``torchvision.models.list_models(module=torchvision.models)``.
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.
        image_size: Side of the input image in pixels; None for the model's default. Only the ``vit_*`` (a multiple of
            the patch size; pretrained position embeddings are interpolated) and ``maxvit_t`` depend on it.
        pretrained: Load torchvision's default weights; downloads them on first use.
        kwargs: Further arguments of the model's builder.

    Raises:
        UserError: The name is unknown (detection and segmentation models are), a size is too small, the builder
            does not accept an argument, or the weights cannot be had.

    Example:
        >>> model = torchvision_model("squeezenet1_1", num_classes=10, in_channels=1)
        >>> model.eval()(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 10])
    """
    check_sizes(num_classes, in_channels, image_size)
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise UserError(f"unknown torchvision classification model {name!r}: {nearest(name, names)}")
    if "weights" in kwargs:
        raise UserError(f"torchvision model {name!r} takes no argument 'weights' here; set pretrained=true")
    builder = torchvision.models.get_model_builder(name)
    options = dict(kwargs)
    has_auxiliary = name in ("googlenet", "inception_v3")
    if has_auxiliary:
        if options.pop("aux_logits", False):
            raise UserError(f"torchvision model {name!r} must return logits alone: aux_logits=true is not possible")
        if not pretrained:
            options = {"init_weights": True, "aux_logits": False} | options

    def build() -> nn.Module:
        if pretrained:
            return _pretrained(name, builder, image_size, options)
        model: nn.Module = builder(num_classes=num_classes, **(_size_options(name, image_size) | options))
        return model

    model = made("torchvision", name, kwargs, pretrained, build)
    _check_swallowed(name, builder, model, kwargs)
    if has_auxiliary:
        _drop_auxiliary(model, in_channels)
    if in_channels != 3:
        fit_convolution(model, in_channels, fold=pretrained)
    if pretrained:
        _swap_head(model, num_classes)
    return model


def timm_model(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    image_size: int | None = None,
    pretrained: bool = False,
    **kwargs: Any,
) -> nn.Module:
    """Build a model of timm; timm itself fits head, first convolution and position embeddings.

    With ``pretrained`` and other than 3 channels, timm sums the RGB weights over the colours for one channel and
    repeats them for more; the head is new where ``num_classes`` is not that of the weights.

    Args:
        name: A name of ``timm.list_models()``, with or without a weight tag (``resnet10t.c3_in1k``), or a source that
            timm knows (``hf-hub:owner/model``, ``local-dir:path``).
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.
        image_size: Side of the input image in pixels; handed to models that have an ``img_size``, of no effect on
            the others. None for the model's default.
        pretrained: Load the weights; downloads them on first use. Offline, the Hub's client retries for most of a
            minute before it fails; with HF_HUB_OFFLINE=1 it fails at once.
        kwargs: Further arguments of ``timm.create_model``.

    Returns:
        The model: images N×``in_channels``×H×W to logits N×``num_classes``.

    Raises:
        UserError: The name is unknown, a size is too small, the model does not accept an argument, or the weights
            cannot be had.

    Example:
        >>> model = timm_model("resnet10t", num_classes=10, in_channels=1)
        >>> model.eval()(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 10])
    """
    check_sizes(num_classes, in_channels, image_size)
    import timm

    architecture = name.split(".")[0]
    if not name.startswith(_TIMM_SOURCES) and not timm.is_model(architecture):
        raise UserError(f"unknown timm model {name!r}: {nearest(architecture, timm.list_models())}")

    def build(**size: Any) -> nn.Module:
        model: nn.Module = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **size, **kwargs
        )
        return model

    def build_to_size() -> nn.Module:
        if image_size is not None and "img_size" not in kwargs:
            try:
                model = build(img_size=image_size)
                _BUILT_TO_SIZE.add(model)
                return model
            except TypeError as error:
                # Only the model itself knows whether it depends on the image's size.
                if _refused_argument(error) != "img_size":
                    raise
        return build()

    return made("timm", name, kwargs, pretrained, build_to_size)


def built_to_size(model: nn.Module) -> bool:
    """Whether :func:`timm_model` gave the model the image's size."""
    return model in _BUILT_TO_SIZE


def made(
    library: str, name: str, kwargs: Mapping[str, object], pretrained: bool, build: Callable[[], nn.Module]
) -> nn.Module:
    """Call ``build``; whatever a library's builder raises on the user's arguments becomes one line."""
    try:
        return build()
    except Exception as error:
        refused = _refused_argument(error)
        if refused is not None:
            raise UserError(f"{library} model {name!r} {refusal(error) or f'takes no {refused!r}'}") from error
        arguments = ", ".join(f"{argument}={value!r}" for argument, value in kwargs.items())
        model = f"{library} {'pretrained ' * pretrained}model {name!r}{f' with {arguments}' if arguments else ''}"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_MESSAGE_LENGTH]
        hint = "; pretrained=true needs the network once, or the weights in the cache" if pretrained else ""
        raise UserError(f"cannot build {model} ({reason}){hint}") from error


def _refused_argument(error: Exception) -> str | None:
    """Name the argument that a call did not accept, where that is what the error says."""
    match = _BAD_ARGUMENT.search(str(error)) if isinstance(error, TypeError) else None
    return match[1] if match else None


def _check_swallowed(name: str, builder: Callable[..., Any], model: nn.Module, kwargs: Mapping[str, object]) -> None:
    """Refuse an argument that the model's class took into an unused ``**kwargs`` (convnext, mobilenet_v3)."""
    parameters = inspect.signature(type(model).__init__).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    known = {*parameters, *inspect.signature(builder).parameters}
    if name.startswith("mobilenet_v3"):
        known |= {"width_mult", "reduced_tail", "dilated"}
    for argument in kwargs:
        if argument not in known:
            raise UserError(
                f"torchvision model {name!r} takes no {argument!r}; {nearest(argument, known - {'self', 'kwargs'})}"
            )


def _size_options(name: str, image_size: int | None) -> dict[str, Any]:
    """Return the arguments that tell a torchvision builder the image's size; none where it does not matter."""
    if image_size is None:
        return {}
    if name.startswith("vit_"):
        return {"image_size": image_size}
    return {"input_size": (image_size, image_size)} if name == "maxvit_t" else {}


def _pretrained(
    name: str, builder: Callable[..., nn.Module], image_size: int | None, options: dict[str, Any]
) -> nn.Module:
    """Build with torchvision's default weights and their head, at ``image_size``."""
    from torchvision.models import get_model_weights
    from torchvision.models.vision_transformer import interpolate_embeddings

    weights = get_model_weights(name).DEFAULT
    if name == "maxvit_t":
        options = _size_options(name, image_size) | options
    model = builder(weights=weights, **options)
    if image_size is None or not name.startswith("vit_") or model.image_size == image_size:
        return model
    resized = builder(image_size=image_size, num_classes=len(weights.meta["categories"]), **options)
    resized.load_state_dict(interpolate_embeddings(image_size, model.patch_size, model.state_dict()))
    return resized


def _drop_auxiliary(model: Any, in_channels: int) -> None:
    """Take off the auxiliary heads that pretrained weights bring along; logits alone are returned then."""
    model.aux_logits = False
    for head in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, head):
            setattr(model, head, None)
    if in_channels != 3:
        model.transform_input = False  # it renormalises three colours


def fit_convolution(model: nn.Module, in_channels: int, fold: bool) -> None:
    """Make the first convolution accept ``in_channels``; ``fold`` carries its RGB weights over."""
    path, old = next((path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Conv2d))
    new = convolution_like(old, in_channels, old.out_channels)
    with torch.no_grad():
        if fold:
            new.weight.copy_(old.weight.sum(1, keepdim=True).expand_as(new.weight) / in_channels)
        else:
            nn.init.normal_(new.weight, std=old.weight.std().item() * math.sqrt(old.in_channels / in_channels))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    model.set_submodule(path, new)


def _swap_head(model: nn.Module, num_classes: int) -> None:
    """Replace the last linear layer or convolution by a new one, unless it has ``num_classes`` outputs already."""
    path, old = [(path, layer) for path, layer in model.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    if isinstance(old, nn.Conv2d) and old.out_channels != num_classes:
        model.set_submodule(path, convolution_like(old, old.in_channels, num_classes))
    elif isinstance(old, nn.Linear) and old.out_features != num_classes:
        model.set_submodule(path, nn.Linear(old.in_features, num_classes, bias=old.bias is not None))


def convolution_like(old: nn.Conv2d, in_channels: int, out_channels: int) -> nn.Conv2d:
    """A new convolution with other channels."""
    same = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    options: dict[str, Any] = {option: getattr(old, option) for option in same}
    return nn.Conv2d(in_channels, out_channels, bias=old.bias is not None, **options)
