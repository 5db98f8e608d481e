"""One export: every file written, run on test images, measured, described."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill import environment
from distill.errors import UserError
from distill.export import card, formats, plain
from distill.export.command import Options
from distill.export.compare import compare, logits
from distill.export.deployed import Deployed
from distill.export.deployed import plain as plain_copy
from distill.export.latency import timings
from distill.export.pixels import Pixels, pixels
from distill.export.quantise import FILE as INT8
from distill.export.quantise import quantise
from distill.runs import Run

LIKE_PYTORCH = "student, PyTorch"


@dataclass(frozen=True)
class Student:
    """What an export starts from.

    Attributes:
        run: the finished run.
        test: test images as files see them.
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

    @property
    def graph_inputs(self) -> Tensor:
        """Test images as graphs take them."""
        return self.test.images if self.embedded else self.normalised

    @property
    def normalised(self) -> Tensor:
        """Test images as the bare model takes them."""
        return self.run.preprocess.scaling(self.test.images)


def open_student(options: Options) -> Student:
    """Opens the run, reads the test images, asks the student once.

    Raises:
        UserError: see ``Run``.
    """
    run = Run(options.run)
    torch.set_num_threads(options.threads or int(run.report["hardware"]["threads"]))
    model = run.student.model
    test = pixels(run.data, "test", options.images)
    reference = logits(model, run.preprocess.scaling(test.images))
    embedded = options.preprocess == "embedded"
    facts = {"classes": list(run.classes), "preprocess": described(run, test.images.dtype, embedded)}
    wrapped = bool(run.config["kd"]["student_wrapper"])
    file = formats.FILES["safetensors"]
    code = None if wrapped else plain.code(run.config["model"], run.preprocess, len(run.classes), model, file)
    return Student(run, test, reference, embedded, facts, code)


def described(run: Run, dtype: torch.dtype, embedded: bool) -> dict[str, Any]:
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


def _written(name: str, path: Path, student: Student, threads: int) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Writes one file, opens it again; how to run it, and on what."""
    if name == "safetensors":
        formats.write_safetensors(student.run.student.model, path)
        fresh = Run(student.run.weights).student.model if student.code is None else nn.Identity()
        return formats.open_safetensors(path, fresh, student.code), student.normalised
    inputs = student.graph_inputs
    example = inputs[:2] if len(inputs) > 1 else inputs.repeat(2, 1, 1, 1)
    write = formats.write_onnx if name == "onnx" else formats.write_torch_export
    write(student.graph, example.clone(), path, student.facts)  # a slice would bring all images along
    opened = formats.open_onnx(path, threads) if name == "onnx" else formats.open_torch_export(path)
    return opened, inputs


def _row(label: str, path: Path | None, size: int, found: Tensor, student: Student) -> dict[str, Any]:
    like = compare(found, student.reference, student.test.labels)
    return {"model": label, "file": path.name if path else None, "bytes": size, **asdict(like)}


def export(options: Options, names: list[str], folder: Path) -> dict[str, Any]:
    """Writes all files in ``folder``.

    Returns:
        What ``export.json`` holds: the run, the settings, a row per model.

    Raises:
        UserError: a file that cannot be written or answers otherwise than the student; see also ``Run``.
    """
    student = open_student(options)
    run, threads = student.run, torch.get_num_threads()
    rows = [_row(LIKE_PYTORCH, None, run.report["student"]["bytes"], student.reference, student)]
    timed: dict[str, Callable[[Tensor], Tensor]] = {}
    embedded = student.embedded
    if run.teacher is not None:
        model = run.teacher.model
        size = run.report["teacher"]["bytes"]
        rows.insert(0, _row("teacher, PyTorch", None, size, logits(model, student.normalised), student))
        timed["teacher, PyTorch"] = _as_graph(model, student)
    timed[LIKE_PYTORCH] = _as_graph(run.student.model, student)
    for name in names:
        path = folder / formats.FILES[name]
        opened, inputs = _written(name, path, student, threads)
        row = _row(f"student, {name}", path, path.stat().st_size, logits(opened, inputs), student)
        if not row["difference"] <= options.tolerance:
            raise UserError(
                f"{name}: a logit differs by {row['difference']:.3g} from PyTorch's, and "
                f"tolerance={options.tolerance:g}; the file was removed"
            )
        rows.append(row)
        if name != "safetensors":
            timed[row["model"]] = opened
    if options.quantize:
        rows.append(_int8(options, student, folder, threads, timed))
    if options.seconds:
        for label, timing in timings(timed, student.graph_inputs[:64], options.seconds).items():
            next(row for row in rows if row["model"] == label)["speed"] = asdict(timing)
    report = {
        "run": str(run.folder),
        "weights": run.weights.name,
        "command": environment.command(),
        "tolerance": options.tolerance,
        "preprocess": "embedded" if embedded else "described",
        "calibration": {"method": options.calibration, "images": options.calibration_images}
        if options.quantize
        else None,
        "license": options.license,
        "rows": rows,
        "hardware": environment.hardware(torch.device("cpu")),
        "versions": environment.versions() | formats.versions(),
    }
    (folder / "preprocess.json").write_text(json.dumps(student.facts["preprocess"], indent=2) + "\n")
    (folder / "classes.json").write_text(json.dumps(list(run.classes), indent=2) + "\n")
    (folder / "README.md").write_text(card.card(run, report, student.code))
    (folder / "export.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def _as_graph(model: nn.Module, student: Student) -> Callable[[Tensor], Tensor]:
    """A PyTorch model that does the same work as the files: normalisation included where theirs is."""
    if not student.embedded:
        return model
    scaling = student.run.preprocess.scaling
    return lambda images: model(scaling(images))


def _int8(
    options: Options, student: Student, folder: Path, threads: int, timed: dict[str, Callable[[Tensor], Tensor]]
) -> dict[str, Any]:
    seen = pixels(student.run.data, "train", options.calibration_images).images
    seen = seen if student.embedded else student.run.preprocess.scaling(seen)
    path = folder / INT8
    quantise(folder / formats.FILES["onnx"], path, seen, options.calibration)
    opened = formats.open_onnx(path, threads)
    row = _row("student, onnx int8", path, path.stat().st_size, logits(opened, student.graph_inputs), student)
    timed[row["model"]] = opened
    return row
