"""Comparison of the models of an export on the same test samples."""

from dataclasses import asdict, replace
from pathlib import Path

from torch import Tensor

from distill.export import formats
from distill.export.latency import timings
from distill.export.parity import Runner, compare
from distill.export.report import Row
from distill.export.student import Student
from distill.training.roles import TEACHER


class Comparison:
    """The rows of an export's table and their models, which are timed in turn at the end.

    Args:
        threads: of onnxruntime.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.rows: list[Row] = []
        self._models: dict[str, Runner] = {}

    def add_pytorch(self, role: str, student: Student, size: int) -> None:
        """Adds a run's teacher or student; ``size`` in bytes."""
        run, is_teacher = student.run, role == "teacher"
        model = run.model(TEACHER).model if is_teacher else run.student.model
        runner = student.runner(model, is_teacher)
        outputs = student.outputs(runner) if is_teacher else student.reference
        self._add(f"{role}, PyTorch", size, None, outputs, student, runner)

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
            runner = student.quantise(folder / formats.FILES["onnx"], path, self.threads)
        else:
            runner = student.write(name, path, self.threads)
        file = path.name if kept else None
        timed = runner if name != "safetensors" else None
        return self._add(f"{role}, {name}", path.stat().st_size, file, student.outputs(runner), student, timed)

    def time(self, student: Student, seconds: float) -> None:
        """Measures the speed of all models in turn."""
        speeds = timings(self._models, student.batch, student.sizes, seconds)
        self.rows = [replace(row, speed=speeds.get(row.model)) for row in self.rows]

    def _add(
        self, model: str, size: int, file: str | None, outputs: Tensor, student: Student, timed: Runner | None
    ) -> Row:
        parity = asdict(compare(outputs, student.reference, student.targets, student.run.task))
        self.rows.append(Row(model=model, file=file, bytes=size, **parity))
        if timed is not None:
            self._models[model] = timed
        return self.rows[-1]
