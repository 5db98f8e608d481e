"""The table that is printed at the end of a run."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from distill.training.roles import Role, RoleKind
from distill.training.summary import FILE, EpochScores, ModelResult, RunSummary, StudentResult
from distill.utils.units import percent, short

ORIGINS = {
    "checkpoint": "loaded from",
    "as built": "taken as it was built (recipe.max_epochs=0)",
    "found": "found in",
    "trained": "trained and kept in",
}


def _best(model: ModelResult) -> EpochScores | None:
    return model.best if isinstance(model, StudentResult) else None


def _int8(model: ModelResult) -> float | None:
    scores = model.last.int8 if isinstance(model, StudentResult) else None
    return scores["test"].acc if scores else None


def table(summary: RunSummary) -> Table:
    """All models of the run, and the ratios of student and teacher."""
    models, student, ratios = summary.models, summary.student, summary.ratios
    view = Table(title=f"{summary.data.name}, seed {summary.seed}, {summary.hardware.device}, {summary.precision}")
    view.add_column("")
    for role, model in models.items():
        view.add_column(f"{role.label}\n{model.name}", justify="right")
    if ratios:
        view.add_column("student is", justify="right")

    def row(label: str, cell: Callable[[ModelResult], str], note: str = "") -> None:
        view.add_row(label, *map(cell, models.values()), *([note] if ratios else []))

    kept = f"{percent(ratios.accuracy_kept)} kept" if ratios else ""
    row("test top-1, last epoch", lambda model: percent(model.test.acc), kept)
    if student and student.best:
        epochs = f"{student.best.epoch} of {student.last.epoch}"
        row(
            f"test top-1, best-on-validation epoch ({epochs})",
            lambda model: percent(best.test.acc) if (best := _best(model)) else "",
        )
    if student and student.last.int8:
        row("the same computed as in int8", lambda model: percent(_int8(model)))
    if any(model.test.top5 is not None for model in models.values()):
        row("test top-5", lambda model: percent(model.test.top5))
    partners = {Role(RoleKind.TEACHER): "the teacher", Role(RoleKind.PEER): "peer 1"}
    other = next((name for role, name in partners.items() if role in models), None)
    if other and any(model.test.agreement is not None for model in models.values()):
        row(f"agreement with {other}", lambda model: percent(model.test.agreement))

    def times(ratio: str, word: str) -> str:
        return f"{getattr(ratios, ratio):.2f} x {word}" if ratios else ""

    batch = next(iter(models.values())).speed.batch
    row("parameters", lambda model: short(model.size.parameters), times("parameters", "smaller"))
    row("multiply-accumulates", lambda model: short(model.size.macs), times("macs", "fewer"))
    row("size on disk", lambda model: short(model.size.bytes, "B"), times("bytes", "smaller"))
    row("latency, batch 1", lambda model: f"{model.speed.latency_ms:.2f} ms", times("latency", "faster"))
    row(f"throughput, batch {batch}", lambda model: short(model.speed.throughput, "/s"), times("throughput", "faster"))
    return view


def show(summary: RunSummary, folder: Path) -> None:
    """Prints the table and the path of the results."""
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table(summary))
    console.print(f"results: {folder}/{FILE}", soft_wrap=True, highlight=False)
