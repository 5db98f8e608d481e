"""The runs of a comparison."""

from dataclasses import dataclass
from pathlib import Path

from distill.config.schema import KDConfig
from distill.evaluation.results import Calibration, read_calibration
from distill.evaluation.run_folder import RunFolder
from distill.training.flows import used_flows
from distill.training.summary import RunSummary, StudentResult
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One run of the comparison: its label (the end of its path) and what its JSON files hold.

    ``calibration`` is None where the run was not evaluated.
    """

    label: str
    folder: Path
    summary: RunSummary
    student: StudentResult
    calibration: Calibration | None


def strategy(kd: KDConfig, hard: str | None = "CE") -> str:
    """A run's distillation strategy in a few words: the terms of its loss, and its flows.

    Args:
        kd: of the run.
        hard: how the loss on labels is called; None: there is none.

    Example:
        >>> from distill.config.schema import TermConfig
        >>> strategy(KDConfig(terms={"kd": TermConfig(), "sp": TermConfig()}, generations=3))
        'CE + kd + sp, 3 generations'
    """
    loss = " + ".join([*([hard] if hard else []), *kd.terms]) if kd.terms else f"{hard} alone"
    return ", ".join([loss, *(flow.describe(kd) for flow in used_flows(kd))])


def strategy_of(summary: RunSummary) -> str:
    """:func:`strategy` of a finished run, whose loss on labels is cross-entropy where samples have classes."""
    hard = "CE" if summary.task.has_classes else "labels"
    return strategy(summary.kd, None if summary.data.targets == "none" else hard)


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
    resolved: set[Path] = set()
    for folder in folders:
        if folder.resolve() in resolved:
            raise UserError(f"run {folder} is given twice")
        resolved.add(folder.resolve())
    runs = [RunFolder(folder) for folder in folders]
    scores = {f"{run.summary.task.name} ({run.summary.task.score})" for run in runs}
    if len(scores) > 1:
        raise UserError(f"runs of different tasks or scores cannot be compared: {', '.join(sorted(scores))}")
    return [
        Entry(label, run.folder, run.summary, run.student_result, read_calibration(run.folder))
        for label, run in zip(labels([run.folder for run in runs]), runs, strict=True)
    ]


def warnings(runs: list[Entry]) -> list[str]:
    """Why numbers of these runs cannot be compared, a line for each difference."""
    data = "data (images, splits, size, normalisation or augmentation)"
    facts = [
        (data, "scores may not be", {run.summary.data.fingerprint for run in runs}),
        ("the epoch that was kept", "scores may not be", {run.summary.kept_epoch for run in runs}),
        ("device", "speeds are not", {run.summary.hardware.device for run in runs}),
        ("CPU", "speeds are not", {run.summary.hardware.cpu for run in runs}),
        ("threads", "speeds are not", {str(run.summary.hardware.threads) for run in runs}),
        ("precision", "scores and speeds are not", {run.summary.precision for run in runs}),
    ]
    return [f"the runs differ in {fact}: their {reach} comparable" for fact, reach, values in facts if len(values) > 1]
