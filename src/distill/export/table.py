"""The closing table of an export."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from distill.summary import _percent, _short


def table(report: dict[str, Any]) -> Table:
    """A row per model: accuracy, distance from PyTorch, size, latency at batch 1, throughput at its best batch."""
    rows, place = report["rows"], report["hardware"]
    view = Table(title=f"{place['cpu']}, {place['threads']} thread(s), {rows[0]['images']} test images")
    for column in ("", "test top-1", "max. difference", "size", "median", "p95", "p99", "best throughput"):
        view.add_column(column, justify="right" if column else "left")
    for row in rows:
        speed = row.get("speed")
        times = [f"{speed[key]:.2f} ms" for key in ("median_ms", "p95_ms", "p99_ms")] if speed else [""] * 3
        best = f"{_short(speed['throughput'])}/s, batch {speed['best_batch']}" if speed else ""
        difference = f"{row['difference']:.1e}" if row["file"] else ""
        view.add_row(row["model"], _percent(row["accuracy"]), difference, f"{_short(row['bytes'])}B", *times, best)
    return view


def show(report: dict[str, Any], folder: Path) -> None:
    """Prints the table and where the files are."""
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(report))
    for row in report["rows"]:
        if row["file"]:
            console.print(f"{folder / row['file']}", soft_wrap=True, highlight=False)
    console.print(f"model card: {folder / 'README.md'}; measurements: {folder / 'export.json'}",
                  soft_wrap=True, highlight=False)  # fmt: skip
