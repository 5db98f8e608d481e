"""A comparison as rows, one per run."""

from pathlib import Path

from distill.evaluation.compare.entries import Entry, strategy
from distill.tasks.info import AGREEMENT
from distill.training.summary import kept_epochs
from distill.utils import console
from distill.utils.units import percent, short

COLUMNS = (
    "run", "student", "teacher", "loss", "seed", "score", "relative to teacher", "agreement", "ECE", "NLL",
    "parameters", "MACs", "size", "latency p50", "p95 / p99", "throughput", "machine",
)  # fmt: skip


def cells(run: Entry) -> list[str]:
    """A run's row, in the order of COLUMNS; scores are those of its kept epoch on the test split."""
    summary, student, calibration = run.summary, run.student, run.calibration
    score = summary.task.chooses
    return [
        run.label,
        student.name,
        summary.teacher.name if summary.teacher else "",
        strategy(summary.kd),
        str(summary.seed),
        score.display(student.test[score.name]),
        percent(summary.ratios.score_relative_to_teacher if summary.ratios else None),
        AGREEMENT.display(student.test.get(AGREEMENT.name)),
        percent(calibration.ece if calibration else None),
        f"{calibration.nll:.4f}" if calibration else "",
        short(student.size.parameters),
        short(student.size.macs),
        short(student.size.bytes, "B"),
        f"{student.speed.latency_ms:.2f} ms",
        student.speed.tail or "",
        short(student.speed.throughput, "/s"),
        student.speed.machine or "",
    ]


def filled(runs: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one run fills, and the rows."""
    table = [cells(run) for run in runs]
    kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in table)]
    columns = [runs[0].summary.task.chooses.label if column == "score" else column for column in COLUMNS]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in table]


def show(runs: list[Entry], page: Path) -> None:
    """Prints the table (a column per run), each run's command, and where the page is."""
    columns, table = filled(runs)
    transposed = [list(cells) for cells in zip(["", *columns[1:]], *table, strict=True)]
    epochs = kept_epochs(run.summary for run in runs)
    view = console.table(transposed[0], transposed[1:], title=f"{len(runs)} runs, test split, {epochs}")
    console.print_table(view, [*(f"{run.label}: {run.summary.command}" for run in runs), f"page: {page}"])
