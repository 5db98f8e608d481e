"""The runs of a comparison."""

from dataclasses import dataclass
from pathlib import Path

from distill.evaluation.results import Calibration, read_calibration
from distill.evaluation.run_folder import RunFolder
from distill.training.summary import RunSummary, StudentResult
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One run of the comparison.

    Attributes:
        label: what tells it from the others: the end of its path.
        folder: the run's.
        summary: its summary.json.
        student: its entry of the student.
        calibration: of its evaluation.json; None where there is none.
    """

    label: str
    folder: Path
    summary: RunSummary
    student: StudentResult
    calibration: Calibration | None


def labels(folders: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell all of them apart.

    Example:
        >>> labels([Path("a/x/1"), Path("a/y/1")])
        ['x/1', 'y/1']
    """
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(part[-length:]) for part in parts]
        if len(set(ends)) == len(ends):
            return ends
    return [str(folder) for folder in folders]


def entries(folders: list[Path]) -> list[Entry]:
    """The runs in the order given.

    Raises:
        UserError: fewer than two, one twice, a folder without a finished run with a student.
    """
    if len(folders) < 2:
        raise UserError(f"give two runs or more to compare, got {len(folders)}")
    for folder in folders:
        if folder.is_file():
            raise UserError(f"runs are compared by their folders, got the file {folder}")
    resolved = [folder.resolve() for folder in folders]
    for i, folder in enumerate(folders):
        if resolved[i] in resolved[:i]:
            raise UserError(f"run {folder} is given twice")
    runs = [RunFolder(folder) for folder in folders]
    return [
        Entry(label, run.folder, run.summary, run.student_result, read_calibration(run.folder))
        for label, run in zip(labels([run.folder for run in runs]), runs, strict=True)
    ]


def warnings(runs: list[Entry]) -> list[str]:
    """What makes numbers of these runs no match for one another, a line each."""
    lines = []
    for what, reach, values in (
        (
            "data (images, splits, size, normalisation or augmentation)",
            "accuracies may not be",
            [run.summary.data.fingerprint for run in runs],
        ),
        ("device", "speeds are not", [run.summary.hardware.device for run in runs]),
        ("CPU", "speeds are not", [run.summary.hardware.cpu for run in runs]),
        ("threads", "speeds are not", [str(run.summary.hardware.threads) for run in runs]),
        ("precision", "accuracies and speeds are not", [run.summary.precision for run in runs]),
    ):
        if len(set(values)) > 1:
            lines.append(f"the runs differ in {what}: their {reach} comparable")
    return lines
