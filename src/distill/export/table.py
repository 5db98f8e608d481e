"""The table of an export: a row per model, for the terminal and for the model card."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from distill.utils.units import percent, short

COLUMNS = ("test top-1", "max. diff.", "size", "batch 1, ms", "best batch", "its ms", "images/s")
WIDTH = 140  # where no terminal says
NOTE = "ms: median / 95th / 99th percentile of a batch, all models in turn"


def _percentiles(speed: dict[str, Any], prefix: str = "") -> str:
    return " / ".join(f"{speed[f'{prefix}{key}_ms']:.3g}" for key in ("median", "p95", "p99"))


def cells(row: dict[str, Any]) -> list[str]:
    """A row as texts, in the order of ``COLUMNS``; the difference is a file's from the PyTorch model."""
    difference = "" if row["model"].endswith("PyTorch") else f"{row['difference']:.1e}"
    found = [percent(row["accuracy"]), difference, short(row["bytes"], "B")]
    speed = row.get("speed")
    if speed is None:
        return [*found, "", "", "", ""]
    best = [str(speed["best_batch"]), _percentiles(speed, "best_"), short(speed["throughput"])]
    return [*found, _percentiles(speed), *best]


def table(report: dict[str, Any]) -> Table:
    """A row per model."""
    rows, place = report["rows"], report["hardware"]
    other = f"; other: {report['against']}" if report["against"] else ""
    where = f"{place['cpu']}, {place['threads']} thread(s), {rows[0]['images']} test images{other}"
    view = Table(title=Text(where), caption=NOTE)
    view.add_column("")
    for column in COLUMNS:
        view.add_column(column, justify="right")
    for row in rows:
        view.add_row(row["model"], *cells(row))
    return view


def show(report: dict[str, Any], folder: Path) -> None:
    """Prints the table and where the files are."""
    console = Console(width=None if Console().is_terminal else WIDTH)
    console.print(table(report))
    for row in report["rows"]:
        if row["file"]:
            console.print(f"{folder / row['file']}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"model card: {folder / 'README.md'}; measurements: {folder / 'export.json'}",
                  soft_wrap=True, highlight=False, markup=False)  # fmt: skip
