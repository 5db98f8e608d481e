"""An evaluation as rows: for the terminal and for the page."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from rich.table import Table

from distill.evaluation.results import EvaluationResults, MetricComparison, MetricScores
from distill.tasks.info import TaskInfo
from distill.training.roles import Role
from distill.utils import console
from distill.utils.units import percent, short

Lines = tuple[tuple[str, str, Callable[[Any], str]], ...]  # label, attribute, format


class Row(NamedTuple):
    """A quantity: its label, and its value as text by role (empty where a model has none)."""

    label: str
    cells: dict[Role, str]


SCORES: Lines = (
    ("top-1", "acc", percent),
    ("top-5", "top5", percent),
    ("macro F1", "macro_f1", percent),
    ("Matthews correlation", "matthews", "{:.4f}".format),
    ("NLL, nats", "nll", "{:.4f}".format),
    ("Brier score", "brier", "{:.4f}".format),
    ("ECE, 15 bins", "ece", percent),
)
COMPARISONS: Lines = (
    ("its agreement with the student", "agreement", percent),
    ("KL(it‖student), nats", "kl", "{:.4f}".format),
    ("student right, it wrong", "only_student_right", lambda count: percent(count.share)),
    ("student wrong, it right", "only_other_right", lambda count: percent(count.share)),
)
SIZE: Lines = (
    ("parameters", "parameters", short),
    ("multiply-accumulates", "macs", short),
    ("size on disk", "bytes", lambda value: short(value, "B")),
)
SPEED: Lines = (
    ("latency p50, batch 1", "latency_ms", "{:.2f} ms".format),
    ("latency p95 / p99", "tail", str),
    ("throughput", "throughput", lambda value: short(value, "/s")),
    ("measured in", "dtype", str),
    ("the machine meanwhile", "machine", str),
)


def _lines(task: TaskInfo) -> tuple[Lines, Lines]:
    """The lines of a task without classes: what needs no other model and what does are told apart by the records."""
    lines = tuple((metric.label, metric.name, metric.display) for metric in task.metrics)
    return lines, lines


def _by_name(record: Any) -> Any:
    """A record whose attributes are the metrics."""
    return SimpleNamespace(**record.metrics) if isinstance(record, MetricScores | MetricComparison) else record


def rows(results: EvaluationResults) -> list[Row]:
    """Every number that at least one model has."""
    models = results.models
    lines, compared = (SCORES, COMPARISONS) if results.task.has_classes else _lines(results.task)
    groups: tuple[tuple[Lines, dict[Role, Any]], ...] = (
        (lines, {role: _by_name(model.scores) for role, model in models.items()}),
        (compared, {role: _by_name(comparison) for role, comparison in results.comparisons.items()}),
        (SIZE, {role: model.size for role, model in models.items()}),
        (SPEED, {role: model.speed for role, model in models.items()}),
    )
    table = []
    for lines, records in groups:
        for label, field, text in lines:
            values = {role: getattr(records.get(role), field, None) for role in models}
            if any(value is not None for value in values.values()):
                table.append(Row(label, {role: "" if v is None else text(v) for role, v in values.items()}))
    return table


def table(results: EvaluationResults) -> Table:
    """Every model side by side."""
    where = f"{results.data}, {results.split}, {results.samples} samples"
    columns = ["", *(f"{role.label}\n{model.name}" for role, model in results.models.items())]
    cells = [[row.label, *row.cells.values()] for row in rows(results)]
    return console.table(columns, cells, title=f"{where}, {results.hardware.device}, {results.precision}")


def changes(results: EvaluationResults) -> list[str]:
    """The classes that lost and gained most against the first other model, a line each."""
    if not results.comparisons or not results.task.has_classes:
        return []
    role, by_class = next(iter(results.comparisons.items()))
    lines = []
    for most, word in ((by_class.lost, "lost most"), (by_class.gained, "gained most")):
        named = [f"{each.name} {100 * each.change:+.1f}" for each in most[:5]]
        lines.append(f"{word} beside the {role.label}, points: {', '.join(named) or 'none'}")
    return lines


def reproduction(results: EvaluationResults) -> str:
    """Whether the run's own numbers came out again, in a line."""
    if results.reproduced is None:
        return "the run has no numbers of its own for this (other samples or batches), so none are compared"
    if not results.reproduced.equal:
        return "the run's own numbers did not come out again: see reproduced in evaluation.json"
    names = {metric.name: metric.label for metric in results.task.metrics} | {"hard": "supervised loss"}
    return f"equal to the run's own summary.json: {', '.join(names[name] for name in results.reproduced.values)}"


def show(results: EvaluationResults, files: list[Path]) -> None:
    """Prints the table, the classes that changed most, and the paths of the results."""
    lines = [*changes(results), reproduction(results), f"results: {', '.join(map(str, files))}"]
    console.print_table(table(results), lines)
