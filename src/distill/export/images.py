"""The student of a run on images as it is exported."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from distill.data import ImageDataModule, Preprocess
from distill.data.vision.masked import classes_of
from distill.evaluation.runs import Run
from distill.export import formats, standalone
from distill.export.options import Options
from distill.export.parity import Runner
from distill.export.quantization import quantise
from distill.export.report import Calibration
from distill.export.student import Student, Use, plain, target_facts, write_graph
from distill.utils.checkpoints import save_weights
from distill.utils.errors import UserError
from distill.utils.invocation import invocation

BATCH = 128
TIMED = 64  # images that timed batches are made of
MASKED = 512  # images that are compared at most, where an output is a map
PIPELINES = {  # of the Hub
    "classification": "image-classification",
    "embedding": "image-feature-extraction",
    "segmentation": "image-segmentation",
}


@dataclass(frozen=True)
class Pixels:
    """Images (N, C, H, W), uint8 in 0..255 or float32, and their labels (N,), or masks (N, H, W)."""

    images: Tensor
    labels: Tensor


def pixels(data: ImageDataModule, split: Literal["train", "test"], limit: int) -> Pixels:
    """At most ``limit`` images of a split at even distances, resized and cropped, not normalised.

    Raises:
        UserError: an image that cannot be read.
    """
    dataset = data.dataset(split, train=False)
    masked = dataset.split.dataset.masks is not None
    count = min(limit, len(dataset), MASKED if masked else limit)
    positions = torch.linspace(0, len(dataset) - 1, count).round().long()
    try:
        images, kept = dataset.read(0, positions)
    except Exception as error:
        raise UserError(str(error)) from error
    if masked:
        return Pixels(images[:, :-1].contiguous(), classes_of(images[:, -1]))
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


@dataclass(frozen=True)
class ImageStudent(Student):
    """See :class:`Student`; a batch is a tensor of images (N, C, H, W) as graphs take them.

    Attributes:
        images: test images before normalisation.
        embedded: whether graphs normalise.
        calibrating: training images before normalisation; None: no int8.
    """

    sizes: ClassVar[tuple[int, ...]] = (1, 4, 16, 64, 256)
    after_int8: ClassVar[str] = f"calibration=entropy, or {invocation('train')} init=<run> quantize=int8"

    images: Tensor
    embedded: bool
    calibrating: Tensor | None

    def batches(self) -> Iterator[Tensor]:
        """The test samples."""
        return map(self._graph_inputs, torch.split(self.images, BATCH))

    def batch(self, size: int) -> Tensor:
        """A batch to measure speed with."""
        images = self._graph_inputs(self.images[:TIMED])
        return images.repeat(-(-size // len(images)), 1, 1, 1)[:size].contiguous()

    def runner(self, model: Runner, is_teacher: bool = False) -> Runner:  # noqa: ARG002 - it sees the same
        """A model of the run as a function of batches."""
        if not self.embedded:
            return model
        scaling = self.run.image_preprocess.scaling
        return lambda images: model(scaling(images))

    def write_beside(self, folder: Path) -> None:
        """Nothing: ``preprocess.json`` says all."""

    def write(self, name: str, path: Path, threads: int) -> Runner:
        """See :meth:`Student.write`."""
        if name == "safetensors":
            save_weights(self.run.student.model, path, signed=False)
            new = self._built_again() if self.code is None else nn.Identity()
            return self.runner(formats.open_safetensors(path, new, self.code))
        images = self.images[:2]
        example = self._graph_inputs(images if len(images) > 1 else images.repeat(2, 1, 1, 1)).clone()  # no slice
        model = self._built_again()
        graph = Deployed(model, self.run.image_preprocess, self.images.dtype) if self.embedded else plain(model)
        return write_graph(name, graph, example, path, self.facts, threads)

    def quantise(self, source: Path, path: Path, threads: int) -> Runner:
        """See :meth:`Student.quantise`."""
        assert self.calibrating is not None
        assert self.calibration is not None
        quantise(source, path, self._graph_inputs(self.calibrating), self.calibration.method)
        return formats.open_onnx(path, threads)

    def of(self, run: Run) -> "ImageStudent":
        """Another run's student on the same test samples."""
        facts, code = _facts(run, self.images.dtype, self.embedded), _code(run)
        return replace(self, run=run, facts=facts, code=code)

    def use(self) -> Use:
        """What the model card says of images."""
        run, graph = self.run, self.facts["preprocess"]["graph"]
        values = {
            "code": self.code,
            "onnx_code": standalone.onnx_code(run, graph, formats.FILES["onnx"]),
        }
        task = PIPELINES.get(run.task.name, "image-classification" if run.task.targets == "multilabel" else None)
        return Use("images.md", values, standalone.library(run.settings.model) or "pytorch", task)

    def _built_again(self) -> nn.Module:
        """The run's student once more: not every model can be copied."""
        return Run(self.run.weights, self.run.trust).student.model

    def _graph_inputs(self, images: Tensor) -> Tensor:
        """The input of graphs for images (N, C, H, W)."""
        return images if self.embedded else self.run.image_preprocess.scaling(images)


def open_images(run: Run, options: Options) -> ImageStudent:
    """Opens a run's student and reads the test images.

    Raises:
        UserError: see ``Run``; an image that cannot be read.
    """
    test, embedded = pixels(run.images, "test", options.images), options.preprocess == "embedded"
    train = pixels(run.images, "train", options.calibration_images).images if options.quantize else None
    return ImageStudent(
        run=run,
        targets=test.labels,
        facts=_facts(run, test.images.dtype, embedded),
        code=_code(run),
        preprocess=options.preprocess,
        calibration=None if train is None else Calibration(options.calibration, len(train)),
        images=test.images,
        embedded=embedded,
        calibrating=train,
    )


def _code(run: Run) -> str | None:
    if run.settings.kd.student_wrapper:
        return None
    model, classes, without = run.student.model, len(run.classes), run.student.without
    file = formats.FILES["safetensors"]
    return standalone.code(run.settings.model, run.image_preprocess, classes, model, file, without)


def _facts(run: Run, dtype: torch.dtype, embedded: bool) -> dict[str, Any]:
    return {"classes": list(run.classes), "preprocess": _described(run, dtype, embedded) | target_facts(run)}


def _described(run: Run, dtype: torch.dtype, embedded: bool) -> dict[str, Any]:
    """The preprocessing of an image before a graph, for ``preprocess.json``."""
    preprocess = run.image_preprocess
    size = f"{preprocess.height}×{preprocess.width}"
    resize = f"shorter side to {preprocess.resize} px (bilinear, antialiased), central {size} px"
    if preprocess.pad:
        resize = (
            f"longer side to {preprocess.height} px where it is more (bilinear, antialiased), black around to {size} px"
        )
    uint8 = dtype == torch.uint8
    scale = "(x / 255 − mean) / std per channel, RGB order" if uint8 else "(x − mean) / std per channel"
    return {
        **preprocess.as_dict(),
        "layout": "NCHW, batch free",
        "steps": [*([resize] if preprocess.resize or preprocess.pad else []), *([] if embedded else [scale])],
        "graph": {
            "input": formats.INPUT,
            "dtype": str(dtype).removeprefix("torch.") if embedded else "float32",
            "values": ("0..255" if uint8 else "as the data are") if embedded else "normalised",
            "output": formats.OUTPUT,
            "normalises": embedded,
        },
    }
