"""The student of a run as it is exported: its test samples, its graph, its files; the kinds of data derive from it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from distill.evaluation.inference import joined
from distill.evaluation.runs import Run
from distill.export import formats
from distill.export.parity import Runner
from distill.export.report import Calibration


@dataclass(frozen=True)
class Use:
    """What a model card says of the kind of data.

    Attributes:
        template: its part "## Use", a file in ``templates``.
        values: of that template.
        library: that loads the weights, as the Hub calls it.
        pipeline: task of the Hub; None: it has no name for it.
    """

    template: str
    values: dict[str, Any]
    library: str
    pipeline: str | None


def plain(model: nn.Module) -> nn.Module:
    """The model itself, frozen, in eval mode and contiguous memory format, as exporters need it."""
    return model.cpu().eval().requires_grad_(False).to(memory_format=torch.contiguous_format)


@dataclass(frozen=True)
class Student(ABC):
    """A run's student and the test samples that its files are compared on.

    What is compared are functions of *batches*; what a batch is, the kind of data says.

    Attributes:
        run: the finished run.
        targets: of the test samples, in the order of :meth:`batches`.
        facts: metadata of graphs: "classes", and what is written to ``preprocess.json``.
        code: loads the weights without this project; None where only this project can.
        preprocess: "embedded": graphs take samples as they are; "described": as ``preprocess.json`` says.
        calibration: of int8; None where nothing is calibrated.
    """

    sizes: ClassVar[tuple[int, ...]]  # of the batches that are timed
    after_int8: ClassVar[str]  # what to try where int8 costs too much

    run: Run
    targets: Tensor
    facts: dict[str, Any]
    code: str | None
    preprocess: str
    calibration: Calibration | None

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """The test samples."""

    @abstractmethod
    def batch(self, size: int) -> Any:
        """A batch of test samples to measure speed with; they are repeated where they are too few."""

    @abstractmethod
    def runner(self, model: Runner, is_teacher: bool = False) -> Runner:
        """A model of the run as a function of batches."""

    @abstractmethod
    def write_beside(self, folder: Path) -> None:
        """Writes what belongs beside the files, whatever their formats."""

    @abstractmethod
    def write(self, name: str, path: Path, threads: int) -> Runner:
        """Writes the student in a format and opens the file again.

        Args:
            name: "onnx", "torch_export" or "safetensors".
            path: of the file.
            threads: of onnxruntime.

        Returns:
            The file as a function of batches.

        Raises:
            UserError: it cannot be written; the message names operator and module.
        """

    @abstractmethod
    def quantise(self, source: Path, path: Path, threads: int) -> Runner:
        """Writes the ONNX file ``source`` in int8; else as :meth:`write`."""

    @abstractmethod
    def of(self, run: Run) -> "Student":
        """Another run's student on the same test samples."""

    @abstractmethod
    def use(self) -> Use:
        """What the model card says of this kind of data."""

    def outputs(self, runner: Runner) -> Tensor:
        """What a model gives for all test samples, float32 (N, C), of tokens (N, L, C)."""
        with torch.inference_mode():
            return joined([runner(batch).float() for batch in self.batches()])

    @cached_property
    def reference(self) -> Tensor:
        """The outputs of the student in PyTorch."""
        return self.outputs(self.runner(self.run.student.model))


def write_graph(name: str, model: nn.Module, example: Any, path: Path, facts: dict[str, Any], threads: int) -> Runner:
    """Writes a graph, "onnx" or "torch_export", and opens it; see :func:`distill.export.formats.write_onnx`."""
    if name == "onnx":
        formats.write_onnx(model, example, path, facts)
        return formats.open_onnx(path, threads)
    formats.write_torch_export(model, example, path, facts)
    return formats.open_torch_export(path)


def target_facts(run: Run) -> dict[str, Any]:
    """What turns the outputs of task=regression into the units of the data, for ``preprocess.json``."""
    if run.task.targets != "numbers":
        return {}
    return {"targets": {"mean": run.summary.data.target_mean, "std": run.summary.data.target_std}}
