"""A comparison as rows, one per run."""

from pathlib import Path

from distill.evaluation.compare.entries import Entry, strategy_of
from distill.tasks.info import AGREEMENT, Metric, TaskInfo
from distill.training.summary import kept_epochs
from distill.utils import console
from distill.utils.units import percent, short

COSTS = ("ECE", "NLL", "parameters", "MACs", "size", "latency p50", "p95 / p99", "throughput", "machine")


def _others(task: TaskInfo) -> list[Metric]:
    """What is shown beside the score."""
    return [AGREEMENT] if task.has_classes else [metric for metric in task.metrics if metric.name != task.score]


def columns_of(task: TaskInfo) -> list[str]:
    """The columns of a comparison of runs of a task."""
    others = ["agreement" if metric == AGREEMENT else metric.label for metric in _others(task)]
    return ["run", "student", "teacher", "loss", "seed", task.chooses.label, "relative to teacher", *others, *COSTS]


def cells(run: Entry) -> list[str]:
    """A run's row, in the order of ``columns_of``; scores are those of its kept epoch on the test split."""
    summary, student, calibration = run.summary, run.student, run.calibration
    score = summary.task.chooses
    return [
        run.label,
        student.name,
        summary.teacher.name if summary.teacher else "",
        strategy_of(summary),
        str(summary.seed),
        score.display(student.test[score.name]),
        percent(summary.ratios.score_relative_to_teacher if summary.ratios else None),
        *(metric.display(student.test.get(metric.name)) for metric in _others(summary.task)),
        percent(calibration.ece if calibration else None),
        f"{calibration.nll:.4f}" if calibration else "",
        short(student.size.parameters),
        short(student.size.macs),
        short(student.size.bytes, "B"),
        f"{student.speed.latency_ms:.2f} ms",
        student.speed.tail or "",
        short(student.speed.throughput, "/s"),
        student.speed.machine or "",
    ]


def filled(runs: list[Entry]) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one run fills, and the rows."""
    table = [cells(run) for run in runs]
    columns = columns_of(runs[0].summary.task)
    kept = [i for i in range(len(columns)) if any(row[i] for row in table)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in table]


def show(runs: list[Entry], page: Path) -> None:
    """Prints the table (a column per run), each run's command, and where the page is."""
    columns, table = filled(runs)
    transposed = [list(cells) for cells in zip(["", *columns[1:]], *table, strict=True)]
    epochs = kept_epochs(run.summary for run in runs)
    view = console.table(transposed[0], transposed[1:], title=f"{len(runs)} runs, test split, {epochs}")
    console.print_table(view, [*(f"{run.label}: {run.summary.command}" for run in runs), f"page: {page}"])
