"""The table of an export: a row per model, for the terminal and for the model card."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from distill.export.report import ExportReport, Row
from distill.utils.console import print_table
from distill.utils.units import percent, short

COLUMNS = ("test top-1", "max. diff.", "size", "batch 1, ms", "best batch", "its ms", "images/s")
WIDTH = 140  # where stdout is no terminal
NOTE = "ms: median / 95th / 99th percentile of a batch, all models in turn"


def cells(row: Row) -> list[str]:
    """A row as texts, in the order of ``COLUMNS``; the difference is a file's from the PyTorch model."""
    difference = "" if row.model.endswith("PyTorch") else f"{row.difference:.1e}"
    texts = [percent(row.accuracy), difference, short(row.bytes, "B")]
    if row.speed is None:
        return [*texts, "", "", "", ""]
    speed = row.speed
    one = f"{speed.median_ms:.3g} / {speed.p95_ms:.3g} / {speed.p99_ms:.3g}"
    best = f"{speed.best_median_ms:.3g} / {speed.best_p95_ms:.3g} / {speed.best_p99_ms:.3g}"
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
    """Prints the table and the paths of the files."""
    files = [f"{folder / row.file}" for row in report.rows if row.file]
    card = f"model card: {folder / 'README.md'}; measurements: {folder / 'export.json'}"
    print_table(table(report), [*files, card], WIDTH)
