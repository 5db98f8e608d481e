"""The student of a run as it is exported: its images, its graph, its files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from distill.data import ImageDataModule, Preprocess
from distill.evaluation.runs import Run
from distill.export import formats, standalone
from distill.export.parity import Runner, logits
from distill.utils.checkpoints import save_weights
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Pixels:
    """Images (N, C, H, W), uint8 in 0..255 or float32, and their labels (N,)."""

    images: Tensor
    labels: Tensor


def pixels(data: ImageDataModule, split: Literal["train", "test"], limit: int) -> Pixels:
    """At most ``limit`` images of a split at even distances, resized and cropped, not normalised.

    Raises:
        UserError: an image that cannot be read.
    """
    dataset = data.dataset(split, train=False)
    count = min(limit, len(dataset))
    positions = torch.linspace(0, len(dataset) - 1, count).round().long()
    try:
        images, kept = dataset.read(0, positions)
    except Exception as error:
        raise UserError(str(error)) from error
    return Pixels(images, dataset.split.dataset.labels[dataset.split.rows[kept]])


class Deployed(nn.Module):
    """Pixels to logits: (x · unit − mean) / std, then the model.

    Args:
        model: see :func:`plain`; it is changed.
        preprocess: mean and std.
        dtype: of the pixels; uint8 is divided by 255.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, preprocess: Preprocess, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = plain(model)
        mean, std = (torch.tensor(v)[:, None, None] for v in (list(preprocess.mean), list(preprocess.std)))
        self.register_buffer("scale", (1 / 255 if dtype == torch.uint8 else 1.0) / std)
        self.register_buffer("shift", mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, C, H, W)."""
        logits: Tensor = self.model(images.to(torch.float32) * self.scale - self.shift)
        return logits


def plain(model: nn.Module) -> nn.Module:
    """The model itself, frozen, in eval mode and contiguous memory format, as exporters need it."""
    return model.cpu().eval().requires_grad_(False).to(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class Student:
    """A run's student and the inputs of its export.

    Attributes:
        test: test images before normalisation.
        reference: the student's logits on them in float32, in PyTorch.
        embedded: whether graphs normalise.
        facts: metadata of graphs.
        code: loads the weights without this project; None where only this project can.
    """

    run: Run
    test: Pixels
    reference: Tensor
    embedded: bool
    facts: dict[str, Any]
    code: str | None

    @property
    def graph(self) -> nn.Module:
        """The exported model."""
        model = self.built_again()
        return Deployed(model, self.run.image_preprocess, self.test.images.dtype) if self.embedded else plain(model)

    def built_again(self) -> nn.Module:
        """The run's student once more: not every model can be copied."""
        return Run(self.run.weights, self.run.trust).student.model

    def graph_inputs(self, pixels: Tensor) -> Tensor:
        """The input of graphs for images (N, C, H, W)."""
        return pixels if self.embedded else self.run.image_preprocess.scaling(pixels)

    def on_pixels(self, model: Runner) -> Runner:
        """Puts the normalisation before a model of normalised images."""
        scaling = self.run.image_preprocess.scaling
        return lambda pixels: model(scaling(pixels))


def open_student(run: Run, test: Pixels, embedded: bool) -> Student:
    """Opens a run's student and computes its logits on the test images.

    Raises:
        UserError: see ``Run``.
    """
    model, scaling = run.student.model, run.image_preprocess.scaling
    reference = logits(lambda pixels: model(scaling(pixels)), test.images)
    facts: dict[str, Any] = {"classes": list(run.classes), "preprocess": _described(run, test.images.dtype, embedded)}
    if run.task.targets == "numbers":  # what turns outputs into the units of the data
        targets = run.summary.data
        facts["preprocess"]["targets"] = {"mean": targets.target_mean, "std": targets.target_std}
    code, file = None, formats.FILES["safetensors"]
    if not run.settings.kd.student_wrapper:
        classes, without = len(run.classes), run.student.without
        code = standalone.code(run.settings.model, run.image_preprocess, classes, model, file, without)
    return Student(run, test, reference, embedded, facts, code)


def _described(run: Run, dtype: torch.dtype, embedded: bool) -> dict[str, Any]:
    """The preprocessing of an image before a graph, for ``preprocess.json``."""
    preprocess = run.image_preprocess
    size = f"{preprocess.height}×{preprocess.width}"
    resize = f"shorter side to {preprocess.resize} px (bilinear, antialiased), central {size} px"
    uint8 = dtype == torch.uint8
    scale = "(x / 255 − mean) / std per channel, RGB order" if uint8 else "(x − mean) / std per channel"
    return {
        **preprocess.as_dict(),
        "layout": "NCHW, batch free",
        "steps": [*([resize] if preprocess.resize else []), *([] if embedded else [scale])],
        "graph": {
            "input": formats.INPUT,
            "dtype": str(dtype).removeprefix("torch.") if embedded else "float32",
            "values": ("0..255" if uint8 else "as the data are") if embedded else "normalised",
            "output": formats.OUTPUT,
            "normalises": embedded,
        },
    }


def write(name: str, path: Path, student: Student, threads: int) -> Runner:
    """Writes the student in a format and opens the file again.

    Args:
        name: "onnx", "torch_export" or "safetensors".
        path: of the file.
        student: the model that is written.
        threads: of onnxruntime.

    Returns:
        The file as a function of :meth:`Student.graph_inputs`; that of safetensors takes normalised images.

    Raises:
        UserError: it cannot be written; the message names operator and module.
    """
    if name == "safetensors":
        save_weights(student.run.student.model, path, signed=False)
        new = student.built_again() if student.code is None else nn.Identity()
        return formats.open_safetensors(path, new, student.code)
    images = student.test.images[:2]
    example = student.graph_inputs(images if len(images) > 1 else images.repeat(2, 1, 1, 1)).clone()  # no slice of all
    if name == "onnx":
        formats.write_onnx(student.graph, example, path, student.facts)
        return formats.open_onnx(path, threads)
    formats.write_torch_export(student.graph, example, path, student.facts)
    return formats.open_torch_export(path)
