"""The student of a run with the inputs of its export."""

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
from distill.utils.checkpoints import save_weights


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
        model = self.run.student.model
        return Deployed(model, self.run.preprocess, self.test.images.dtype) if self.embedded else plain_copy(model)

    def graph_inputs(self, pixels: Tensor) -> Tensor:
        """The input of graphs for images (N, C, H, W)."""
        return pixels if self.embedded else self.run.preprocess.scaling(pixels)

    def on_pixels(self, model: Runner) -> Runner:
        """Puts the normalisation before a model of normalised images."""
        scaling = self.run.preprocess.scaling
        return lambda pixels: model(scaling(pixels))


def open_student(run: Run, test: Pixels, embedded: bool) -> Student:
    """Opens a run's student and computes its logits on the test images.

    Raises:
        UserError: see ``Run``.
    """
    model, scaling = run.student.model, run.preprocess.scaling
    reference = logits(lambda pixels: model(scaling(pixels)), test.images)
    facts = {"classes": list(run.classes), "preprocess": _described(run, test.images.dtype, embedded)}
    code, file = None, formats.FILES["safetensors"]
    if not run.settings.kd.student_wrapper:
        code = standalone.code(run.settings.model, run.preprocess, len(run.classes), model, file)
    return Student(run, test, reference, embedded, facts, code)


def _described(run: Run, dtype: torch.dtype, embedded: bool) -> dict[str, Any]:
    """The preprocessing of an image before a graph, for ``preprocess.json``."""
    preprocess = run.preprocess
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
        name: one of ``formats.FILES``.
        path: of the file.
        student: the model that is written.
        threads: of onnxruntime.

    Returns:
        The file as a function of :meth:`Student.graph_inputs`; that of safetensors takes normalised images.

    Raises:
        UserError: it cannot be written; the message names operator and module.
    """
    if name == "safetensors":
        save_weights(student.run.student.model, path)
        new = Run(student.run.weights).student.model if student.code is None else nn.Identity()
        return formats.open_safetensors(path, new, student.code)
    images = student.test.images[:2]
    example = student.graph_inputs(images if len(images) > 1 else images.repeat(2, 1, 1, 1)).clone()  # no slice of all
    if name == "onnx":
        formats.write_onnx(student.graph, example, path, student.facts)
        return formats.open_onnx(path, threads)
    formats.write_torch_export(student.graph, example, path, student.facts)
    return formats.open_torch_export(path)
