"""The table that is printed at the end of a run."""

from collections.abc import Callable
from functools import partial

from rich.table import Table

from distill.tasks.info import AGREEMENT, Metric
from distill.training.roles import Role, RoleKind
from distill.training.summary import EpochScores, ModelResult, RunSummary, StudentResult
from distill.utils import console
from distill.utils.units import percent, short, times

ORIGINS = {
    "checkpoint": "loaded from",
    "as built": "taken as it was built (recipe.max_epochs=0)",
    "found": "found in",
    "trained": "trained and kept in",
}


def _test(metric: Metric, model: ModelResult) -> str:
    return metric.display(model.test.get(metric.name))


def _int8(model: ModelResult, score: str) -> float | None:
    scores = model.kept.int8 if isinstance(model, StudentResult) else None
    return scores["test"].get(score) if scores else None


def _epochs(student: StudentResult | None) -> tuple[str, EpochScores | None, str]:
    """Which epoch's student is shown; the other one of last and best epoch, and which that is."""
    if student is None or student.best is None:
        return "", None, ""
    last, best = f", last epoch ({student.last.epoch})", f", best epoch ({student.best.epoch} of {student.last.epoch})"
    if student.best.epoch == student.last.epoch:
        return best, None, ""
    return (best, student.last, last) if student.kept is student.best else (last, student.best, best)


def _milliseconds(field: str, model: ModelResult) -> str:
    value = getattr(model.speed, field)
    return "" if value is None else f"{value:.2f} ms"


def table(summary: RunSummary) -> Table:
    """All models of the run, and the ratios of student and teacher."""
    models, student, ratios, score = summary.models, summary.student, summary.ratios, summary.task.chooses
    columns = [
        "",
        *(f"{role.label}\n{model.name}" for role, model in models.items()),
        *(["student, relative\nto the teacher"] if ratios else []),
    ]
    rows: list[list[str]] = []

    def row(label: str, cell: Callable[[ModelResult], str], note: str = "") -> None:
        rows.append([label, *map(cell, models.values()), *([note] if ratios else [])])

    relative = percent(ratios.score_relative_to_teacher) if ratios else ""
    shown, other_epoch, other = _epochs(student)
    row(f"test {score.label}{shown}", partial(_test, score), relative)
    if other_epoch is not None:
        value = score.display(other_epoch.test.get(score.name))
        row(f"test {score.label}{other}", lambda model: value if model is student else "")
    if student and student.kept.int8:
        row("the same computed as in int8", lambda model: score.display(_int8(model, score.name)))
    for metric in summary.task.metrics:
        if metric not in (score, AGREEMENT) and any(metric.name in model.test for model in models.values()):
            row(f"test {metric.label}", partial(_test, metric))
    partners = {Role(RoleKind.TEACHER): "teacher–student", Role(RoleKind.PEER): "student–peer 1"}
    partner = next((name for role, name in partners.items() if role in models), None)
    if partner and any(AGREEMENT.name in model.test for model in models.values()):
        row(f"{partner} agreement", partial(_test, AGREEMENT))

    def ratio(name: str, word: str) -> str:
        return f"{times(getattr(ratios, name))} x {word}" if ratios else ""

    speed = next(iter(models.values())).speed
    row("parameters", lambda model: short(model.size.parameters), ratio("parameters", "smaller"))
    row("multiply-accumulates", lambda model: short(model.size.macs), ratio("macs", "fewer"))
    row("size on disk", lambda model: short(model.size.bytes, "B"), ratio("bytes", "smaller"))
    dtype = f", {speed.dtype}" if speed.dtype else ""
    row(f"latency p50, batch 1{dtype}", lambda model: f"{model.speed.latency_ms:.2f} ms", ratio("latency", "faster"))
    for field in ("latency_p95_ms", "latency_p99_ms") if speed.tail else ():
        row(f"latency {field[8:11]}", partial(_milliseconds, field))
    faster = ratio("throughput", "faster")
    row(f"throughput, batch {speed.batch}", lambda model: short(model.speed.throughput, "/s"), faster)
    if summary.data.targets == "next_token":
        length = summary.data.max_length or 0
        row("tokens/s", lambda model: short(length * model.speed.throughput, "/s"), faster)
    title = f"{summary.data.name}, seed {summary.seed}, {summary.hardware.device}, {summary.precision}"
    busy = "the machine was busy while latency and throughput were measured" if speed.busy else ""
    return console.table(columns, rows, title=title, caption=busy)
