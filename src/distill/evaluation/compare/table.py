"""A comparison as rows, one per run."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill.cli.table import strategy
from distill.evaluation.compare.entries import Entry
from distill.utils.units import percent, short

COLUMNS = (
    "run", "student", "teacher", "loss", "seed", "top-1", "kept", "agreement", "ECE", "NLL", "parameters", "MACs",
    "size", "latency", "throughput",
)  # fmt: skip


def cells(entry: Entry) -> list[str]:
    """A run's row, in the order of COLUMNS; accuracies are those of the last epoch on the test split."""
    report = entry.report
    student, teacher = report["student"], report.get("teacher")
    test, ratios = student["last"]["test"], report["ratios"] or {}
    judged = (entry.evaluation or {}).get("models", {}).get("student", {})
    return [
        entry.label,
        student["name"],
        teacher["name"] if teacher else "",
        strategy(report["config"]),
        str(report["seed"]),
        percent(test["acc"]),
        percent(ratios.get("accuracy_kept")),
        percent(test.get("agreement")),
        percent(judged.get("ece")),
        f"{judged['nll']:.4f}" if judged else "",
        short(student["parameters"]),
        short(student["macs"]),
        short(student["bytes"], "B"),
        f"{student['latency_ms']:.2f} ms",
        short(student["throughput"], "/s"),
    ]


def filled(found: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one run fills, and the rows."""
    table = [cells(entry) for entry in found]
    kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in table)]
    return [COLUMNS[i] for i in kept], [[row[i] for i in kept] for row in table]


def show(found: list[Entry], page: Path) -> None:
    """Prints the table (a column per run), each run's command, and where the page is."""
    console = Console(width=None if Console().is_terminal else 120)
    columns, table = filled(found)
    view = Table(title=f"{len(found)} runs, test split, last epoch")
    view.add_column("")
    for row in table:
        view.add_column(Text(row[0]), justify="right", overflow="fold")  # a folder's name may hold brackets
    for i, column in enumerate(columns[1:], 1):
        view.add_row(column, *(Text(row[i]) for row in table))
    console.print(view)
    for entry in found:
        console.print(f"{entry.label}: {entry.report['command']}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"page: {page}", soft_wrap=True, highlight=False, markup=False)
