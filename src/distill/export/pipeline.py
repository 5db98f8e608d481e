"""One export: every file written, run on test images, measured, described."""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.evaluation.runs import Run
from distill.export import formats, model_card
from distill.export.latency import timings
from distill.export.options import Options
from distill.export.parity import Runner, compare, logits
from distill.export.pixels import pixels
from distill.export.quantization import FILE as INT8
from distill.export.quantization import quantise
from distill.export.student import Student, open_student, write
from distill.training.roles import TEACHER
from distill.utils import environment
from distill.utils.atomic import write_json, write_text
from distill.utils.errors import UserError
from distill.utils.invocation import invocation
from distill.utils.units import percent

ROUNDED = 0.01  # share of test images whose answer rounding to bf16 may change
TIMED = 64  # images that a batch is filled with


class Table:
    """The rows of an export and the models behind them, which are timed in turn at the end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.models: dict[str, Runner] = {}

    def add(self, label: str, size: int, found: Tensor, student: Student, timed: Runner | None,
            path: Path | None = None) -> dict[str, Any]:  # fmt: skip
        """A row of a model that answered ``found`` (N, C), beside the student's own logits.

        Args:
            label: of the row.
            size: in bytes.
            found: its logits on the test images.
            student: whose logits are the reference.
            timed: the model as it takes what graphs take; None: its speed is not measured.
            path: of the file that is kept; None: there is none.
        """
        like = asdict(compare(found, student.reference, student.test.labels))
        row = {"model": label, "file": path.name if path else None, "bytes": size, **like}
        self.rows.append(row)
        if timed is not None:
            self.models[label] = timed
        return row

    def time(self, student: Student, seconds: float) -> None:
        """Measures the speed of all models in turn."""
        for label, timing in timings(self.models, student.taken(student.test.images[:TIMED]), seconds).items():
            next(row for row in self.rows if row["model"] == label)["speed"] = asdict(timing)


def _has_teacher(run: Run) -> bool:
    """Whether the teacher can stand in the table; that it is gone is a line on stderr, as no file needs it."""
    try:
        return run.teacher is not None
    except UserError as error:
        print(f"warning: {error}; the table is without it", file=sys.stderr, flush=True)
        return False


def _in_pytorch(table: Table, role: str, student: Student, size: int) -> None:
    """The row of the run's teacher or student."""
    run = student.run
    model = run.student.model if role != "teacher" else run.model(TEACHER).model
    found = logits(student.of_pixels(model), student.test.images) if role == "teacher" else student.reference
    table.add(f"{role}, PyTorch", size, found, student, student.of_pixels(model) if student.embedded else model)


def _file(table: Table, role: str, name: str, path: Path, student: Student, threads: int, kept: bool) -> dict[str, Any]:
    """Writes a file and makes its row."""
    opened = write(name, path, student, threads)
    weights = name == "safetensors"
    found = logits(student.of_pixels(opened) if weights else lambda x: opened(student.taken(x)), student.test.images)
    timed = None if weights else opened
    return table.add(f"{role}, {name}", path.stat().st_size, found, student, timed, path if kept else None)


def _int8(
    table: Table,
    role: str,
    onnx: Path,
    path: Path,
    student: Student,
    threads: int,
    seen: Tensor,
    method: str,
    kept: bool,
) -> dict[str, Any]:
    """Quantises an ONNX file and makes its row; ``seen`` are training images."""
    quantise(onnx, path, student.taken(seen), method)
    opened = formats.open_onnx(path, threads)
    found = logits(lambda x: opened(student.taken(x)), student.test.images)
    return table.add(f"{role}, onnx int8", path.stat().st_size, found, student, opened, path if kept else None)


def _checked(row: dict[str, Any], options: Options) -> None:
    """Refuses a file that answers otherwise than the student.

    Raises:
        UserError: a logit of a float32 file differs too much, or int8 costs too much accuracy.
    """
    if "int8" not in row["model"]:
        if not row["difference"] <= options.tolerance:
            raise UserError(
                f"{row['file']}: a logit differs by {row['difference']:.3g} from PyTorch's, and "
                f"tolerance={options.tolerance:g}; nothing was written"
            )
    elif row["reference"] - row["accuracy"] > options.max_accuracy_drop + 1e-9:
        raise UserError(
            f"{row['file']}: top-1 falls from {percent(row['reference'])} to {percent(row['accuracy'])} on "
            f"{row['images']} images, and max_accuracy_drop={options.max_accuracy_drop:g}; nothing was written "
            f"(try calibration=entropy, or {invocation('train')} init=<run> quantize=int8)"
        )


def _tested(run: Run, student: Student) -> dict[str, Any]:
    """The run's own test of these weights; a line on stderr where the whole test split in float32 gives another number.

    The files are held to the student on the same images. That these are what the run saw is only shown by its own
    number: in float32 it must come out again up to rounding, in bf16 within ``ROUNDED``.
    """
    then, now = (
        run.tested.test.acc,
        float((student.reference.argmax(1) == student.test.labels).float().mean()),
    )
    precision, count = run.summary.precision, len(student.test.labels)
    near = ROUNDED if precision != "32-true" else 0.0
    whole = count == run.summary.data.test and run.config["trainer"]["limit_test_batches"] in (None, 1.0)
    if whole and abs(now - then) > near + 2 / count:
        print(
            f"warning: the run's own test in {precision} gave {percent(then)}, and here the student has {percent(now)}",
            file=sys.stderr,
            flush=True,
        )
    return {"accuracy": then, "precision": precision, "epoch": run.tested.epoch}


def _against(table: Table, options: Options, student: Student, threads: int, seen: Tensor | None) -> None:
    """The rows of another run's student, whose files are made, asked, measured and not kept."""
    assert options.against is not None
    other = open_student(Run(options.against), student.test, student.embedded)
    _in_pytorch(table, "other", other, other.run.student_result.size.bytes)
    with tempfile.TemporaryDirectory() as place:
        onnx = Path(place) / formats.FILES["onnx"]
        _file(table, "other", "onnx", onnx, other, threads, kept=False)
        if seen is not None:
            _int8(table, "other", onnx, Path(place) / INT8, other, threads, seen, options.calibration, kept=False)


def export(options: Options, names: list[str], folder: Path) -> dict[str, Any]:
    """Writes all files in ``folder``.

    Returns:
        What ``export.json`` holds: the run, the settings, a row per model.

    Raises:
        UserError: a file that cannot be written or answers otherwise than the student; see also ``Run``.
    """
    run = Run(options.run)
    torch.set_num_threads(options.threads or run.summary.hardware.threads)
    threads = torch.get_num_threads()
    student = open_student(run, pixels(run.data, "test", options.images), options.preprocess == "embedded")
    seen = pixels(run.data, "train", options.calibration_images).images if options.quantize else None
    table = Table()
    if _has_teacher(run) and run.summary.teacher:
        _in_pytorch(table, "teacher", student, run.summary.teacher.size.bytes)
    _in_pytorch(table, "student", student, run.student_result.size.bytes)
    for name in names:
        _checked(_file(table, "student", name, folder / formats.FILES[name], student, threads, kept=True), options)
    if seen is not None:
        source, path = folder / formats.FILES["onnx"], folder / INT8
        row = _int8(table, "student", source, path, student, threads, seen, options.calibration, kept=True)
        _checked(row, options)
    if options.against:
        _against(table, options, student, threads, seen)
    if options.seconds:
        table.time(student, options.seconds)
    report = {
        "run": environment.portable(str(run.folder)),
        "weights": run.weights.name,
        "against": environment.portable(options.against) if options.against else None,
        "command": environment.portable(environment.command()),
        "tolerance": options.tolerance,
        "max_accuracy_drop": options.max_accuracy_drop,
        "preprocess": options.preprocess,
        "calibration": {"method": options.calibration, "images": len(seen)} if seen is not None else None,
        "license": options.license,
        "tested": _tested(run, student),
        "rows": table.rows,
        "hardware": environment.hardware(torch.device("cpu")),
        "versions": environment.versions() | formats.versions(),
    }
    write_json(folder / "preprocess.json", student.facts["preprocess"], indent=2)
    write_json(folder / "classes.json", list(run.classes), indent=2)
    write_text(folder / "README.md", model_card.card(run, report, student.code))
    write_json(folder / "export.json", report, indent=2)
    return report
