"""The student of a run as an export starts from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill.evaluation.runs import Run
from distill.export import formats, standalone
from distill.export.deployment import Deployed, plain as plain_copy
from distill.export.parity import Runner, logits
from distill.export.pixels import Pixels


@dataclass(frozen=True)
class Student:
    """What an export starts from.

    Attributes:
        run: the finished run.
        test: test images before normalisation.
        reference: the student's own logits on them in float32.
        embedded: whether graphs normalise.
        facts: what graphs carry along.
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
        """The model that graphs are made of."""
        model = self.run.student.model
        return Deployed(model, self.run.preprocess, self.test.images.dtype) if self.embedded else plain_copy(model)

    def graph_inputs(self, pixels: Tensor) -> Tensor:
        """Images (N, C, H, W) as graphs take them."""
        return pixels if self.embedded else self.run.preprocess.scaling(pixels)

    def on_pixels(self, model: Runner) -> Runner:
        """A model of normalised images as one of pixels."""
        scaling = self.run.preprocess.scaling
        return lambda pixels: model(scaling(pixels))


def open_student(run: Run, test: Pixels, embedded: bool) -> Student:
    """Asks a run's student once about the test images.

    Raises:
        UserError: see ``Run``.
    """
    model, scaling, node = run.student.model, run.preprocess.scaling, run.config["model"]
    reference = logits(lambda pixels: model(scaling(pixels)), test.images)
    facts = {"classes": list(run.classes), "preprocess": _described(run, test.images.dtype, embedded)}
    wrapped = bool(run.config["kd"]["student_wrapper"])
    file = formats.FILES["safetensors"]
    code = None if wrapped else standalone.code(node, run.preprocess, len(run.classes), model, file)
    return Student(run, test, reference, embedded, facts, code)


def _described(run: Run, dtype: torch.dtype, embedded: bool) -> dict[str, Any]:
    """What to do with an image before it goes into a file, in words and numbers."""
    see = run.preprocess
    resize = f"shorter side to {see.resize} px (bilinear, antialiased), central {see.height}×{see.width} px"
    uint8 = dtype == torch.uint8
    scale = "(x / 255 − mean) / std per channel, RGB order" if uint8 else "(x − mean) / std per channel"
    return {
        **see.as_dict(),
        "layout": "NCHW, batch free",
        "steps": [*([resize] if see.resize else []), *([] if embedded else [scale])],
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
        name: one of ``formats.FILES``.
        path: of the file.
        student: what is written.
        threads: of onnxruntime.

    Returns:
        The file as a model: of what graphs take (:meth:`Student.graph_inputs`); of safetensors, of normalised images.

    Raises:
        UserError: it cannot be written; operator and module are named.
    """
    if name == "safetensors":
        formats.write_safetensors(student.run.student.model, path)
        fresh = Run(student.run.weights).student.model if student.code is None else nn.Identity()
        return formats.open_safetensors(path, fresh, student.code)
    some = student.test.images[:2]
    example = student.graph_inputs(
        some if len(some) > 1 else some.repeat(2, 1, 1, 1)
    ).clone()  # a slice holds all images
    writer = formats.write_onnx if name == "onnx" else formats.write_torch_export
    writer(student.graph, example, path, student.facts)
    return formats.open_onnx(path, threads) if name == "onnx" else formats.open_torch_export(path)
