"""Comparison of the models of an export on the same test images."""

from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from distill.export import formats
from distill.export.latency import timings
from distill.export.parity import Runner, compare, logits
from distill.export.quantization import quantise
from distill.export.report import Row
from distill.export.student import Student, write
from distill.training.roles import TEACHER

TIMED = 64  # images that timed batches are made of


class Comparison:
    """The rows of an export's table and their models, which are timed in turn at the end.

    Args:
        threads: of onnxruntime.
        calibration: training images that set the ranges of activations in int8; None: no int8.
        method: of calibration.
    """

    def __init__(self, threads: int, calibration: Tensor | None, method: str) -> None:
        self.threads = threads
        self.calibration = calibration
        self.method = method
        self.rows: list[Row] = []
        self._models: dict[str, Runner] = {}

    def add_pytorch(self, role: str, student: Student, size: int) -> None:
        """Adds a run's teacher or student; ``size`` in bytes."""
        run = student.run
        model = run.student.model if role != "teacher" else run.model(TEACHER).model
        outputs = logits(student.on_pixels(model), student.test.images) if role == "teacher" else student.reference
        timed = student.on_pixels(model) if student.embedded else model
        self._add(f"{role}, PyTorch", size, None, outputs, student, timed)

    def add_file(self, role: str, name: str, folder: Path, student: Student, kept: bool) -> Row:
        """Writes a file in a format and adds it; that of safetensors is not timed, that of int8 made of the ONNX file.

        Args:
            role: "student" or "other".
            name: a key of ``formats.FILES``.
            folder: of the file.
            student: the model that is written.
            kept: whether the file is one of the export.
        """
        path = folder / formats.FILES[name]
        if name == formats.INT8:
            assert self.calibration is not None
            images = student.graph_inputs(self.calibration)
            quantise(folder / formats.FILES["onnx"], path, images, self.method)
            model = formats.open_onnx(path, self.threads)
        else:
            model = write(name, path, student, self.threads)
        is_graph = name != "safetensors"
        on_pixels = (lambda x: model(student.graph_inputs(x))) if is_graph else student.on_pixels(model)
        outputs, file = logits(on_pixels, student.test.images), path.name if kept else None
        return self._add(f"{role}, {name}", path.stat().st_size, file, outputs, student, model if is_graph else None)

    def time(self, student: Student, seconds: float) -> None:
        """Measures the speed of all models in turn."""
        speeds = timings(self._models, student.graph_inputs(student.test.images[:TIMED]), seconds)
        self.rows = [replace(row, speed=speeds.get(row.model)) for row in self.rows]

    def _add(
        self, model: str, size: int, file: str | None, outputs: Tensor, student: Student, timed: Runner | None
    ) -> Row:
        parity = asdict(compare(outputs, student.reference, student.test.labels, student.run.task))
        self.rows.append(Row(model=model, file=file, bytes=size, **parity))
        if timed is not None:
            self._models[model] = timed
        return self.rows[-1]
