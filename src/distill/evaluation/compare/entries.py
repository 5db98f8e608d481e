"""The runs of a comparison."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distill.evaluation.run_folder import Record
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One run of the comparison.

    Attributes:
        label: what tells it from the others: the end of its path.
        folder: the run's.
        report: its summary.json.
        evaluation: its evaluation.json; None where there is none.
    """

    label: str
    folder: Path
    report: dict[str, Any]
    evaluation: dict[str, Any] | None


def labels(folders: list[Path]) -> list[str]:
    """The shortest ends of the paths that tell all of them apart.

    Example:
        >>> labels([Path("a/x/1"), Path("a/y/1")])
        ['x/1', 'y/1']
    """
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-length:]) for part in parts]
        if len(set(found)) == len(found):
            return found
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
    runs = [Record(folder) for folder in folders]
    return [
        Entry(label, run.folder, run.report, _evaluation(run.folder))
        for label, run in zip(labels([run.folder for run in runs]), runs, strict=True)
    ]


def _evaluation(folder: Path) -> dict[str, Any] | None:
    path = folder / "evaluation.json"
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        _ = found["models"]["student"]["ece"], found["models"]["student"]["nll"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not what evaluate.py wrote: {error}; run it again with overwrite=true") from error
    return found


def warnings(found: list[Entry]) -> list[str]:
    """What makes numbers of these runs no match for one another, a line each."""
    lines = []
    for what, reach, values in (
        (
            "data (images, splits, size, normalisation or augmentation)",
            "accuracies may not be",
            [entry.report["data"]["fingerprint"] for entry in found],
        ),
        ("device", "speeds are not", [entry.report["hardware"]["device"] for entry in found]),
        ("CPU", "speeds are not", [entry.report["hardware"]["cpu"] for entry in found]),
        ("threads", "speeds are not", [entry.report["hardware"]["threads"] for entry in found]),
        ("precision", "accuracies and speeds are not", [entry.report["precision"] for entry in found]),
    ):
        if len(set(values)) > 1:
            lines.append(f"the runs differ in {what}: their {reach} comparable")
    return lines
