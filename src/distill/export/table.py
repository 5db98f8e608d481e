"""The table of an export: a row per model, for the terminal and for the model card."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill.export.report import ExportReport, Row
from distill.utils.units import percent, short

COLUMNS = ("test top-1", "max. diff.", "size", "batch 1, ms", "best batch", "its ms", "images/s")
WIDTH = 140  # where no terminal says
NOTE = "ms: median / 95th / 99th percentile of a batch, all models in turn"


def _percentiles(*times_ms: float) -> str:
    return " / ".join(f"{ms:.3g}" for ms in times_ms)


def cells(row: Row) -> list[str]:
    """A row as texts, in the order of ``COLUMNS``; the difference is a file's from the PyTorch model."""
    difference = "" if row.model.endswith("PyTorch") else f"{row.difference:.1e}"
    texts = [percent(row.accuracy), difference, short(row.bytes, "B")]
    if row.speed is None:
        return [*texts, "", "", "", ""]
    speed = row.speed
    one = _percentiles(speed.median_ms, speed.p95_ms, speed.p99_ms)
    best = _percentiles(speed.best_median_ms, speed.best_p95_ms, speed.best_p99_ms)
    return [*texts, one, str(speed.best_batch), best, short(speed.throughput)]


def table(report: ExportReport) -> Table:
    """A row per model."""
    rows, hardware = report.rows, report.hardware
    other = f"; other: {report.against}" if report.against else ""
    where = f"{hardware['cpu']}, {hardware['threads']} thread(s), {rows[0].images} test images{other}"
    view = Table(title=Text(where), caption=NOTE)
    view.add_column("")
    for column in COLUMNS:
        view.add_column(column, justify="right")
    for row in rows:
        view.add_row(row.model, *cells(row))
    return view


def show(report: ExportReport, folder: Path) -> None:
    """Prints the table and where the files are."""
    console = Console(width=None if Console().is_terminal else WIDTH)
    console.print(table(report))
    for row in report.rows:
        if row.file:
            console.print(f"{folder / row.file}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"model card: {folder / 'README.md'}; measurements: {folder / 'export.json'}",
                  soft_wrap=True, highlight=False, markup=False)  # fmt: skip
