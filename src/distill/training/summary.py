"""What was gained: the closing table and ``summary.json``."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from distill.utils.units import percent, short

ORIGINS = {
    "checkpoint": "loaded from",
    "as built": "taken as it was built (recipe.max_epochs=0)",
    "found": "found in",
    "trained": "trained and kept in",
}


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, float] | None:
    """Student beside teacher: how many times smaller and faster, and the share of accuracy kept."""
    if "student" not in results or "teacher" not in results:
        return None
    student, teacher = results["student"], results["teacher"]
    return {
        "accuracy_kept": student["last"]["test"]["acc"] / max(teacher["test"]["acc"], 1e-12),
        "parameters": teacher["parameters"] / student["parameters"],
        "macs": teacher["macs"] / max(student["macs"], 1),
        "bytes": teacher["bytes"] / student["bytes"],
        "latency": teacher["latency_ms"] / student["latency_ms"],
        "throughput": student["throughput"] / teacher["throughput"],
    }


def write(report: dict[str, Any], folder: Path) -> None:
    """``summary.json``, whole or not at all."""
    part = folder / "summary.json.part"
    part.write_text(json.dumps(report, indent=2, default=str) + "\n")
    part.replace(folder / "summary.json")


def roles(report: dict[str, Any]) -> list[str]:
    """The models of a run in the order of its columns: teachers, the students between, the student, its peers."""
    ranks = ("teacher", "assistant", "generation", "student", "peer")
    found = [key for key in report if key.split("_")[0] in ranks and isinstance(report[key], dict)]
    return sorted(found, key=lambda key: (ranks.index(key.split("_")[0]), int(key.partition("_")[2] or 1)))


def table(report: dict[str, Any]) -> Table:
    """Every model of the run side by side, and what the student is beside the teacher."""
    entries = {role: report[role] for role in roles(report)}
    student = report.get("student")
    view = Table(
        title=f"{report['data']['name']}, seed {report['seed']}, {report['hardware']['device']}, {report['precision']}"
    )
    view.add_column("")
    for role, entry in entries.items():
        view.add_column(f"{role.replace('_', ' ')}\n{entry['name']}", justify="right")
    share = report["ratios"] or {}
    if share:
        view.add_column("student is", justify="right")

    def row(label: str, cell: Any, note: str = "") -> None:
        view.add_row(label, *(cell(role, entry) for role, entry in entries.items()), *([note] if share else []))

    def test(metric: str, epoch: str = "last") -> Any:
        def cell(role: str, entry: dict[str, Any]) -> str:
            found = entry if role.startswith("teacher") and epoch == "last" else entry.get(epoch, {})
            return percent(found.get("test", {}).get(metric))

        return cell

    row("test top-1, last epoch", test("acc"), f"{percent(share.get('accuracy_kept'))} kept")
    if student and "best" in student:
        epochs = f"{student['best']['epoch']} of {student['last']['epoch']}"
        row(f"test top-1, best-on-validation epoch ({epochs})", test("acc", "best"))
    if student and "int8" in student["last"]:
        row(
            "the same computed as in int8",
            lambda _, e: percent(e.get("last", {}).get("int8", {}).get("test", {}).get("acc")),
        )
    whom = next((who for role, who in (("teacher", "the teacher"), ("peer_1", "peer 1")) if role in entries), None)
    for label, metric in (("test top-5", "top5"), (f"agreement with {whom}", "agreement")):
        if (whom or metric != "agreement") and any(test(metric)(role, entry) for role, entry in entries.items()):
            row(label, test(metric))

    def number(label: str, key: str, form: Any, ratio: str, word: str) -> None:
        row(label, lambda _, entry: form(entry[key]), f"{share[ratio]:.2f} x {word}" if share else "")

    number("parameters", "parameters", short, "parameters", "smaller")
    number("multiply-accumulates", "macs", short, "macs", "fewer")
    number("size on disk", "bytes", lambda v: short(v, "B"), "bytes", "smaller")
    number("latency, batch 1", "latency_ms", lambda v: f"{v:.2f} ms", "latency", "faster")
    batch = next(iter(entries.values()))["batch"]
    number(f"throughput, batch {batch}", "throughput", lambda v: short(v, "/s"), "throughput", "faster")
    return view


def show(report: dict[str, Any], folder: Path) -> None:
    """Prints the table and where everything is."""
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(report))
    console.print(f"results: {folder}/summary.json", soft_wrap=True, highlight=False)
