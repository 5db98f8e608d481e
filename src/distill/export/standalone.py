"""Code that loads the exported weights without this project, for architectures of torchvision and timm."""

from typing import Any

from torch import nn

from distill.data import Preprocess

RESNETS = ("resnet18", "resnet34", "resnet50")
SMALL_STEM = 64
AUXILIARY = ("googlenet", "inception_v3")
PROJECT_KEYS = ("_target_", "name", "pretrained", "num_classes", "in_channels", "image_size")


def library(node: dict[str, Any]) -> str | None:
    """The library that defines the architecture of the run's ``model``: "timm", "torchvision", or None."""
    name = node["_target_"].rpartition(".")[2] if node["_target_"].startswith("distill.models.") else ""
    if name == "timm_model":
        return "timm"
    return "torchvision" if name == "torchvision_model" or name in RESNETS else None


def code(node: dict[str, Any], preprocess: Preprocess, classes: int, model: nn.Module, file: str) -> str | None:
    """Lines of Python that load the file into ``model`` without this project; None where no library has it.

    Args:
        node: the run's ``model``.
        preprocess: of the run.
        classes: number of logits.
        model: the student, for the shape of its first convolution.
        file: name of the weights file.
    """
    package = library(node)
    if package is None:
        return None
    name = node.get("name") or node["_target_"].rpartition(".")[2]
    extra = {key: value for key, value in node.items() if key not in PROJECT_KEYS}
    if package == "timm":
        arguments = {"num_classes": classes, "in_chans": preprocess.channels, **extra}
        if _takes_image_size(model):
            arguments.setdefault("img_size", preprocess.height)
        lines = ["import timm", "from safetensors.torch import load_file", ""]
        lines.append(f"model = timm.create_model({name!r}, {_keywords(arguments)})")
    else:
        lines = _torchvision(name, node, preprocess, classes, model, extra)
    return "\n".join([*lines, f'model.load_state_dict(load_file("{file}"))', "model.eval()"])


def _keywords(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


def _takes_image_size(model: nn.Module) -> bool:
    """Whether a timm model was built to an image size."""
    return any(hasattr(part, "img_size") for part in (model, getattr(model, "patch_embed", None)) if part is not None)


def _torchvision(
    name: str, node: dict[str, Any], preprocess: Preprocess, classes: int, model: nn.Module, extra: dict[str, Any]
) -> list[str]:
    arguments: dict[str, Any] = {"num_classes": classes, **extra}
    if name.startswith("vit_"):
        arguments["image_size"] = preprocess.height
    if name == "maxvit_t":
        arguments["input_size"] = (preprocess.height, preprocess.height)
    if name in AUXILIARY:
        arguments |= {"aux_logits": False, "init_weights": False, "transform_input": bool(model.transform_input)}
    lines = ["import torchvision", "from safetensors.torch import load_file", ""]
    lines.append(f"model = torchvision.models.{name}({_keywords(arguments)})")
    small = node["_target_"].endswith(f".{name}") and preprocess.height <= SMALL_STEM
    if small or preprocess.channels != 3:
        lines[0] = "import torch, torchvision"
        path, first = next((path, part) for path, part in model.named_modules() if isinstance(part, nn.Conv2d))
        shape: dict[str, Any] = {k: getattr(first, k) for k in ("kernel_size", "stride", "padding", "dilation")}
        shape["bias"] = first.bias is not None
        convolution = f"torch.nn.Conv2d({first.in_channels}, {first.out_channels}, {_keywords(shape)})"
        lines.append(f'model.set_submodule("{path}", {convolution})')
    if small:
        lines.append("model.maxpool = torch.nn.Identity()")
    return lines
