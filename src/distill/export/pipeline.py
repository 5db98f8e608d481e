"""One export: writes every file, compares it with the student on test images, measures it, writes the model card."""

import logging
import tempfile
from pathlib import Path
from typing import Any

import torch

from distill.evaluation.runs import Run
from distill.export import formats, model_card
from distill.export.comparison import Comparison
from distill.export.options import Options
from distill.export.pixels import pixels
from distill.export.quantization import FILE as INT8
from distill.export.report import ExportReport, Row
from distill.export.student import Student, open_student
from distill.utils import environment
from distill.utils.atomic import write_json, write_text
from distill.utils.errors import UserError
from distill.utils.invocation import invocation
from distill.utils.units import percent

log = logging.getLogger(__name__)

ROUNDED = 0.01  # share of test images whose prediction rounding to bf16 may change


def _has_teacher(run: Run) -> bool:
    """Whether the teacher's row can be computed; a missing teacher is a warning, as no file needs it."""
    try:
        return run.teacher is not None
    except UserError as error:
        log.warning(f"{error}; the table is without it")
        return False


def _check(row: Row, options: Options) -> None:
    """Checks that a file predicts what the student predicts.

    Raises:
        UserError: a logit of a float32 file differs too much, or int8 loses too much accuracy.
    """
    if "int8" not in row.model:
        if not row.difference <= options.tolerance:
            raise UserError(
                f"{row.file}: a logit differs by {row.difference:.3g} from PyTorch's, and "
                f"tolerance={options.tolerance:g}; nothing was written"
            )
    elif row.reference - row.accuracy > options.max_accuracy_drop + 1e-9:
        raise UserError(
            f"{row.file}: top-1 falls from {percent(row.reference)} to {percent(row.accuracy)} on "
            f"{row.images} images, and max_accuracy_drop={options.max_accuracy_drop:g}; nothing was written "
            f"(try calibration=entropy, or {invocation('train')} init=<run> quantize=int8)"
        )


def _test_of_the_run(run: Run, student: Student) -> dict[str, Any]:
    """The run's own test of these weights; warns where its accuracy is not the one computed here on all test images.

    They may differ by two images, in bf16 by ``ROUNDED`` more.
    """
    then, now = run.tested.test.acc, float((student.reference.argmax(1) == student.test.labels).float().mean())
    precision, count = run.summary.precision, len(student.test.labels)
    rounding = ROUNDED if precision != "32-true" else 0.0
    complete = count == run.summary.data.test and run.settings.trainer.limit_test_batches in (None, 1.0)
    if complete and abs(now - then) > rounding + 2 / count:
        log.warning(f"the run's own test in {precision} gave {percent(then)}, and here the student has {percent(now)}")
    return {"accuracy": then, "precision": precision, "epoch": run.tested.epoch}


def _add_other_run(comparison: Comparison, options: Options, student: Student) -> None:
    """Adds another run's student, whose files are not kept."""
    assert options.against is not None
    other = open_student(Run(options.against), student.test, student.embedded)
    comparison.add_pytorch("other", other, other.run.student_result.size.bytes)
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / formats.FILES["onnx"]
        comparison.add_file("other", "onnx", onnx, other, kept=False)
        if comparison.calibration is not None:
            comparison.add_int8("other", onnx, Path(folder) / INT8, other, kept=False)


def export(options: Options, names: list[str], folder: Path) -> ExportReport:
    """Writes all files in ``folder``.

    Raises:
        UserError: a file that cannot be written or differs from the student; see also ``Run``.
    """
    run = Run(options.run)
    torch.set_num_threads(options.threads or run.summary.hardware.threads)
    student = open_student(run, pixels(run.data, "test", options.images), options.preprocess == "embedded")
    calibration = pixels(run.data, "train", options.calibration_images).images if options.quantize else None
    comparison = Comparison(torch.get_num_threads(), calibration, options.calibration)
    if _has_teacher(run) and run.summary.teacher:
        comparison.add_pytorch("teacher", student, run.summary.teacher.size.bytes)
    comparison.add_pytorch("student", student, run.student_result.size.bytes)
    for name in names:
        _check(comparison.add_file("student", name, folder / formats.FILES[name], student, kept=True), options)
    if calibration is not None:
        onnx = folder / formats.FILES["onnx"]
        _check(comparison.add_int8("student", onnx, folder / INT8, student, kept=True), options)
    if options.against:
        _add_other_run(comparison, options, student)
    if options.seconds:
        comparison.time(student, options.seconds)
    report = ExportReport(
        run=environment.portable(str(run.folder)),
        weights=run.weights.name,
        against=environment.portable(options.against) if options.against else None,
        command=environment.portable(environment.command()),
        tolerance=options.tolerance,
        max_accuracy_drop=options.max_accuracy_drop,
        preprocess=options.preprocess,
        calibration=None if calibration is None else {"method": options.calibration, "images": len(calibration)},
        license=options.license,
        tested=_test_of_the_run(run, student),
        rows=comparison.rows,
        hardware=environment.hardware(torch.device("cpu")),
        versions=environment.versions() | formats.versions(),
    )
    write_json(folder / "preprocess.json", student.facts["preprocess"], indent=2)
    write_json(folder / "classes.json", list(run.classes), indent=2)
    write_text(folder / "README.md", model_card.card(run, report, student.code))
    write_json(folder / "export.json", report.as_json(), indent=2)
    return report
