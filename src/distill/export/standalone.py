"""Code that runs the exported files without this project: the lines of the model card."""

import json
import math
from typing import Any

from torch import nn

from distill.config.nodes import MODEL_KEYS
from distill.data import Preprocess
from distill.evaluation.runs import Run
from distill.models.hub.vision import built_to_size
from distill.tasks.multilabel import Multilabel

RESNETS = ("resnet18", "resnet34", "resnet50")
SMALL_STEM = 64
AUXILIARY = ("googlenet", "inception_v3")
PROJECT_KEYS = (*MODEL_KEYS, "_target_", "name", "pretrained", "num_classes", "in_channels", "image_size")


def library(node: dict[str, Any]) -> str | None:
    """The library that defines the architecture of the run's ``model``: "timm", "torchvision", or None."""
    name = node["_target_"].rpartition(".")[2] if node["_target_"].startswith("distill.models.") else ""
    if name == "timm_model":
        return "timm"
    return "torchvision" if name == "torchvision_model" or name in RESNETS else None


def code(
    node: dict[str, Any], preprocess: Preprocess, classes: int, model: nn.Module, file: str, without: str | None = None
) -> str | None:
    """Lines of Python that load the file into ``model`` without this project; None where no library has it.

    Args:
        node: the run's ``model``.
        preprocess: of the run.
        classes: number of logits.
        model: the student as the project built it: whether it was given the image's size, its first convolution.
        file: name of the weights file.
        without: path of the classifier that was taken off: the model gives embeddings.
    """
    package = library(node)
    if package is None:
        return None
    name = node.get("name") or node["_target_"].rpartition(".")[2]
    extra = {key: value for key, value in node.items() if key not in PROJECT_KEYS}
    if not all(key.isidentifier() for key in extra):  # the lines are run: a key must not be code
        return None
    if package == "timm":
        arguments = {"num_classes": 0 if without else classes, "in_chans": preprocess.channels, **extra}
        if built_to_size(model):
            arguments.setdefault("img_size", preprocess.height)
        lines = ["import timm", "from safetensors.torch import load_file", ""]
        lines.append(f"model = timm.create_model({name!r}, {_keywords(arguments)})")
    else:
        lines = _torchvision(name, node, preprocess, 2 if without else classes, model, extra)
        if without:
            lines[0] = "import torch, torchvision"
            lines.append(f'model.set_submodule("{without}", torch.nn.Identity())')
    return "\n".join([*lines, f'model.load_state_dict(load_file("{file}"))', "model.eval()"])


def _keywords(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())


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


def onnx_code(run: Run, graph: dict[str, Any], file: str) -> str:
    """Lines of Python that run the ONNX file on a picture as they are, beside it and ``classes.json``.

    Args:
        run: of the student.
        graph: the entry of that name in ``preprocess.json``.
        file: name of the ONNX file.
    """
    preprocess = run.image_preprocess
    channels, size = preprocess.channels, (preprocess.width, preprocess.height)
    lines = [*(["import json", ""] if run.classes else []), "import numpy", "import onnxruntime", ""]
    if channels in (1, 3) and graph["values"] != "as the data are":
        mode = "RGB" if channels == 3 else "L"
        lines[-3:-3] = ["from PIL import Image, ImageOps", ""]
        lines.append(f'picture = Image.new("{mode}", (64, 64))  # yours: Image.open("photo.jpg")')
        side = (preprocess.resize, preprocess.resize) if preprocess.resize else size
        if preprocess.pad:
            lines += [
                f'square, picture = Image.new("{mode}", {size}), picture.convert("{mode}")',
                f"picture.thumbnail({size}, Image.Resampling.BILINEAR)",
                "square.paste(picture, [(a - b) // 2 for a, b in zip(square.size, picture.size)])",
                "picture = square",
            ]
        else:
            lines.append(f'picture = ImageOps.fit(picture.convert("{mode}"), {side}, Image.Resampling.BILINEAR)')
        if side != size:
            left, top = ((a - b) // 2 for a, b in zip(side, size, strict=True))
            lines.append(f"picture = picture.crop({(left, top, left + size[0], top + size[1])})")
        shape = (1, preprocess.height, preprocess.width, channels)
        lines.append(f"images = numpy.asarray(picture).reshape({shape}).transpose(0, 3, 1, 2)")
        if not graph["normalises"]:
            mean, std = ([[[float(value)]] for value in each] for each in (preprocess.mean, preprocess.std))
            lines.append(f"mean, std = numpy.array({mean}), numpy.array({std})")
            lines.append("images = ((images / 255 - mean) / std).astype(numpy.float32)")
    else:
        shape = (1, channels, preprocess.height, preprocess.width)
        lines.append(f'images = numpy.zeros({shape}, "{graph["dtype"]}")  # yours, {graph["values"]}')
    return "\n".join(
        [
            *lines,
            f'session = onnxruntime.InferenceSession("{file}")',
            f'(output,) = session.run(None, {{"{graph["input"]}": images}})  # of images N×C×H×W',
            *(['with open("classes.json") as names:', "    classes = json.load(names)"] if run.classes else []),
            *shown(run, "output"),
        ]
    )


def shown(run: Run, output: str) -> list[str]:
    """Lines that print what an output, a tensor or an array, means; ``classes`` are the names of ``classes.json``."""
    task, targets = run.task, run.task.targets
    if task.output == "embedding" or targets == "none":
        return [f"print({output}.shape)"]
    if targets == "numbers":
        data = run.summary.data
        mean, std = (json.dumps(list(values or ())) for values in (data.target_mean, data.target_std))
        return [f"for row in {output}.tolist():", f"    numbers = zip(row, {mean}, {std})",
                "    print([number * std + mean for number, mean, std in numbers])"]  # fmt: skip
    if targets == "multilabel":
        least = math.log(task.threshold / (1 - task.threshold)) if isinstance(task, Multilabel) else 0
        likely = f"[classes[i] for i, value in enumerate(row) if value > {least:.6g}]"
        return [f"for row in {output}.tolist():", f"    print({likely})"]
    if targets == "tokens":
        return [
            "first = {}  # token of each word",
            "for place, word in enumerate(inputs.word_ids(0)):",
            "    first.setdefault(word, place)",
            "places = [place for word, place in first.items() if word is not None]",
            f"print([classes[int(i)] for i in {output}[0].argmax(-1)[places]])",
        ]
    if targets == "masks":  # at the model's own stride
        return [f"numbers = {output}.argmax(1)", "print({classes[int(i)] for i in numbers.reshape(-1)})"]
    return [f"print([classes[int(i)] for i in {output}.argmax(1)])"]
