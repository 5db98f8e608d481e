"""One export: writes every file, compares it with the student on test samples, measures it, writes the model card."""

import logging
import tempfile
from pathlib import Path

import torch

from distill.evaluation.runs import Run
from distill.export import formats, model_card
from distill.export.comparison import Comparison
from distill.export.images import open_images
from distill.export.options import Options
from distill.export.report import ExportReport, Row, RunTest
from distill.export.student import Student
from distill.tasks.info import Metric
from distill.utils import environment
from distill.utils.atomic import write_json, write_text
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

ROUNDED = 0.01  # share of test samples whose prediction rounding to bf16 may change


def open_student(run: Run, options: Options) -> Student:
    """Opens a run's student and reads the test samples.

    Raises:
        UserError: see ``Run``; data that cannot be read; options that this kind of data does not have.
    """
    if run.preprocess.kind == "text":
        from distill.export.texts import open_texts

        return open_texts(run, options)
    return open_images(run, options)


def _has_teacher(run: Run) -> bool:
    """Whether the teacher's row can be computed; a missing teacher is a warning, as no file needs it."""
    try:
        return run.teacher is not None
    except UserError as error:
        log.warning(f"{error}; the table is without it")
        return False


def _worse(row: Row, metric: Metric) -> float:
    """By how much a file's score is worse than the original's: of a share, else relative to it."""
    loss = row.reference - row.score if metric.direction == "max" else row.score - row.reference
    return loss if metric.unit == "share" else loss / max(abs(row.reference), 1e-12)


def _check(row: Row, options: Options, student: Student, metric: Metric) -> None:
    """Checks that a file predicts what the student predicts.

    Args:
        row: of the file.
        options: bounds of what may change.
        student: above 1, the tolerance is relative to its largest logit, without its sign.
        metric: the score.

    Raises:
        UserError: a logit of a float32 file differs too much, or int8 loses too much of the score.
    """
    if "int8" not in row.model:
        largest = float(student.reference.abs().max())
        if row.difference is None or not row.difference <= options.tolerance * max(1.0, largest):
            size = f" times the largest logit, {largest:.3g}" if largest > 1 else ""
            raise UserError(
                f"{row.file}: a logit differs by {row.difference or 0:.3g} from PyTorch's, and "
                f"tolerance={options.tolerance:g}{size}; nothing was written"
            )
    elif _worse(row, metric) > options.max_accuracy_drop + 1e-9:
        verb = "falls" if metric.direction == "max" else "rises"
        raise UserError(
            f"{row.file}: {metric.label} {verb} from {metric.display(row.reference)} to {metric.display(row.score)} on "
            f"{row.images} samples, and max_accuracy_drop={options.max_accuracy_drop:g}; nothing was written "
            f"(try {student.after_int8})"
        )


def _test_of_the_run(run: Run, student: Student) -> RunTest:
    """The run's own test of these weights; warns where its score is not the one computed here on all test samples.

    They may differ by two samples, in bf16 by ``ROUNDED`` more.
    """
    metric = run.task.info.against_labels
    then = run.tested.test[metric.name]
    now = run.task.measure(student.reference, student.targets)[metric.name]
    precision, count = run.summary.precision, len(student.targets)
    rounding = ROUNDED if precision != "32-true" else 0.0
    complete = count == run.summary.data.test and run.settings.trainer.limit_test_batches in (None, 1.0)
    complete &= run.task.has_classifier  # an embedding's score is its likeness to the teacher's
    bound = rounding + 2 / count if metric.unit == "share" else (0.02 + rounding) * max(abs(then), 0.1)
    if complete and abs(now - then) > bound:
        values = f"{metric.display(then)}, and here the student has {metric.display(now)}"
        log.warning(f"the run's own test in {precision} gave {values}")
    return RunTest(then, precision, run.tested.epoch)


def _add_other_run(comparison: Comparison, run: Run, names: list[str], student: Student) -> None:
    """Adds another run's student, whose files are not kept."""
    other = student.of(run)
    comparison.add_pytorch("other", other, run.student_result.size.bytes)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            comparison.add_file("other", name, Path(folder), other, kept=False)


def export(options: Options, names: list[str], folder: Path) -> ExportReport:
    """Writes all files in ``folder``.

    Raises:
        UserError: a file that cannot be written or differs from the student; see also ``Run``.
    """
    run = Run(options.run, options.trust, options.code)
    torch.set_num_threads(options.threads or run.summary.hardware.threads)
    student = open_student(run, options)
    student.write_beside(folder)
    comparison = Comparison(torch.get_num_threads())
    if _has_teacher(run) and run.summary.teacher:
        comparison.add_pytorch("teacher", student, run.summary.teacher.size.bytes)
    comparison.add_pytorch("student", student, run.student_result.size.bytes)
    metric = run.task.info.against_labels
    int8 = [formats.INT8] if options.quantize else []
    for name in (*names, *int8):
        _check(comparison.add_file("student", name, folder, student, kept=True), options, student, metric)
    if options.against:
        _add_other_run(comparison, Run(options.against, options.trust, options.code), ["onnx", *int8], student)
    if options.seconds:
        comparison.time(student, options.seconds)
    report = ExportReport(
        run=run.repo or str(run.folder),
        weights=run.weights.name,
        against=options.against,
        command=environment.command("overwrite=true"),
        tolerance=options.tolerance,
        max_accuracy_drop=options.max_accuracy_drop,
        preprocess=student.preprocess,
        calibration=student.calibration,
        license=options.license,
        tested=_test_of_the_run(run, student),
        rows=comparison.rows,
        hardware=environment.hardware(torch.device("cpu")),
        versions=environment.versions(*formats.PACKAGES),
        metric=metric,
    )
    write_json(folder / "preprocess.json", student.facts["preprocess"], indent=2)
    write_json(folder / "classes.json", list(run.classes), indent=2)
    write_text(folder / "README.md", model_card.card(run, report, student.use()))
    write_json(folder / "export.json", report.as_json(), indent=2)
    return report
