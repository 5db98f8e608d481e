"""A comparison as rows, one per run."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from distill.evaluation.compare.entries import Entry, strategy
from distill.utils.console import print_table
from distill.utils.units import percent, short

COLUMNS = (
    "run", "student", "teacher", "loss", "seed", "top-1", "kept", "agreement", "ECE", "NLL", "parameters", "MACs",
    "size", "latency", "throughput",
)  # fmt: skip


def cells(run: Entry) -> list[str]:
    """A run's row, in the order of COLUMNS; accuracies are those of the last epoch on the test split."""
    summary, student, calibration = run.summary, run.student, run.calibration
    return [
        run.label,
        student.name,
        summary.teacher.name if summary.teacher else "",
        strategy(summary.config),
        str(summary.seed),
        percent(student.test.acc),
        percent(summary.ratios.accuracy_kept if summary.ratios else None),
        percent(student.test.agreement),
        percent(calibration.ece if calibration else None),
        f"{calibration.nll:.4f}" if calibration else "",
        short(student.size.parameters),
        short(student.size.macs),
        short(student.size.bytes, "B"),
        f"{student.speed.latency_ms:.2f} ms",
        short(student.speed.throughput, "/s"),
    ]


def filled(runs: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one run fills, and the rows."""
    table = [cells(run) for run in runs]
    kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in table)]
    return [COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in table]


def show(runs: list[Entry], page: Path) -> None:
    """Prints the table (a column per run), each run's command, and where the page is."""
    columns, table = filled(runs)
    view = Table(title=f"{len(runs)} runs, test split, last epoch")
    view.add_column("")
    for row in table:
        view.add_column(Text(row[0]), justify="right", overflow="fold")  # a folder's name may hold brackets
    for i, column in enumerate(columns[1:], 1):
        view.add_row(column, *(Text(row[i]) for row in table))
    print_table(view, [*(f"{run.label}: {run.summary.command}" for run in runs), f"page: {page}"])
