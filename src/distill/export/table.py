"""The table of an export: a row per model, for the terminal and for the model card."""

from pathlib import Path

from rich.table import Table

from distill.export.report import ExportReport, Row
from distill.utils import console
from distill.utils.units import short

COLUMNS = ("max. diff.", "size", "batch 1, ms", "best batch", "its ms", "samples/s")
WIDTH = 140  # where stdout is no terminal
NOTE = "ms: p50 / p95 / p99 of a batch in float32 or int8, all models in turn"
BUSY = "the machine was busy while this was measured"


def columns(report: ExportReport) -> list[str]:
    """The score's label and ``COLUMNS``."""
    return [f"test {report.metric.label}", *COLUMNS]


def cells(row: Row, report: ExportReport) -> list[str]:
    """A row as texts, in the order of :func:`columns`; the difference is a file's from the PyTorch model."""
    difference = "" if row.difference is None or row.model.endswith("PyTorch") else f"{row.difference:.1e}"
    texts = [report.metric.display(row.score), difference, short(row.bytes, "B")]
    if row.speed is None:
        return [*texts, "", "", "", ""]
    speed = row.speed
    one = f"{speed.median_ms:.3g} / {speed.p95_ms:.3g} / {speed.p99_ms:.3g}"
    best = f"{speed.best_median_ms:.3g} / {speed.best_p95_ms:.3g} / {speed.best_p99_ms:.3g}"
    return [*texts, one, str(speed.best_batch), best, short(speed.throughput)]


def note(report: ExportReport) -> str:
    """What the numbers of the table mean."""
    busy = any(row.speed is not None and row.speed.busy for row in report.rows)
    return f"{NOTE}; {BUSY}" if busy else NOTE


def table(report: ExportReport) -> Table:
    """A row per model."""
    rows, hardware = report.rows, report.hardware
    other = f"; other: {report.against}" if report.against else ""
    where = f"{hardware.cpu}, {hardware.threads} thread(s), {rows[0].images} test samples{other}"
    return console.table(
        ["", *columns(report)], [[row.model, *cells(row, report)] for row in rows], title=where, caption=note(report)
    )


def show(report: ExportReport, folder: Path) -> None:
    """Prints the table and the paths of the files."""
    files = [f"{folder / row.file}" for row in report.rows if row.file]
    card = f"model card: {folder / 'README.md'}; measurements: {folder / 'export.json'}"
    console.print_table(table(report), [*files, card], WIDTH)
