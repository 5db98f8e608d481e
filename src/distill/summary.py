"""What was gained: the closing table and ``summary.json``."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

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


def _short(number: float) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= scale:
            return f"{number / scale:.3g} {unit}"
    return f"{number:.3g}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def table(report: dict[str, Any]) -> Table:
    """Teacher beside student, with ratios."""
    student, teacher = report.get("student"), report.get("teacher")
    view = Table(
        title=f"{report['data']['name']}, seed {report['seed']}, {report['hardware']['device']}, {report['precision']}"
    )
    view.add_column("")
    for role, entry in (("teacher", teacher), ("student", student)):
        if entry:
            view.add_column(f"{role}\n{entry['name']}", justify="right")
    if student and teacher:
        view.add_column("student is", justify="right")
    share = report["ratios"] or {}

    def row(label: str, left: str, right: str, note: str = "") -> None:
        cells = ([left] if teacher else []) + ([right] if student else []) + ([note] if share else [])
        view.add_row(label, *cells)

    def test(entry: dict[str, Any] | None, epoch: str, metric: str) -> str:
        found = (entry or {}).get(epoch, {}) if epoch else (entry or {})
        return _percent(found.get("test", {}).get(metric))

    row("test top-1, last epoch", test(teacher, "", "acc"), test(student, "last", "acc"),
        f"{_percent(share.get('accuracy_kept'))} kept")  # fmt: skip
    if student and "best" in student:
        best = student["best"]
        row(
            f"test top-1, best-on-validation epoch ({best['epoch']} of {student['last']['epoch']})",
            "",
            test(student, "best", "acc"),
        )
    if test(teacher, "", "top5") or test(student, "last", "top5"):
        row("test top-5", test(teacher, "", "top5"), test(student, "last", "top5"))
    if teacher and student:
        row("agreement with the teacher", "", test(student, "last", "agreement"))

    def number(label: str, key: str, form: Any, ratio: str, word: str) -> None:
        left, right = (form(entry[key]) if entry else "" for entry in (teacher, student))
        row(label, left, right, f"{share[ratio]:.2f} x {word}" if share else "")

    number("parameters", "parameters", _short, "parameters", "smaller")
    number("multiply-accumulates", "macs", _short, "macs", "fewer")
    number("size on disk", "bytes", lambda v: f"{_short(v)}B", "bytes", "smaller")
    number("latency, batch 1", "latency_ms", lambda v: f"{v:.2f} ms", "latency", "faster")
    batch = (student or teacher or {}).get("batch")
    number(f"throughput, batch {batch}", "throughput", lambda v: f"{_short(v)}/s", "throughput", "faster")
    return view


def show(report: dict[str, Any], folder: Path) -> None:
    """Prints the table and where everything is."""
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(report))
    console.print(f"results: {folder}/summary.json", soft_wrap=True, highlight=False)
