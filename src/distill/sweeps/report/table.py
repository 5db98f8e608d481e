"""A sweep's results on the terminal, and every job as a line of results.csv."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from distill.config.command_line import RECORD
from distill.sweeps.jobs import State, load
from distill.sweeps.report.mean_std import display
from distill.sweeps.report.references import References
from distill.sweeps.report.results import SEED, JobResult, Setting, SweepResults
from distill.sweeps.report.ties import distinct, ties
from distill.tasks.info import CLASSIFICATION, Metric
from distill.training.summary import kept_epochs
from distill.utils.console import print_table
from distill.utils.invocation import invocation
from distill.utils.units import percent

MAX_LINES = 20  # settings and failures on the terminal
FIRST_COLUMNS = ("job", "state")
OTHERS = ("score_relative_to_teacher", "parameters", "latency_ms", "latency_p95_ms", "latency_p99_ms", "throughput",
          "busy", "wall_s", "host", "visible_devices", "epoch", "reason")  # fmt: skip
SPEEDS = ("latency_ms", "latency_p95_ms", "latency_p99_ms", "throughput", "busy")
RELATIVE, DELTA = "relative to\nthe teacher", "Δ against the student\nwithout distillation"
COLUMNS = ("validation", "test", RELATIVE, DELTA, "tied", "seeds")


def _csv_values(result: JobResult) -> dict[str, Any]:
    """A job's numbers by column, shares from 0 to 1; unknown ones are None or left out."""
    failure, status, score = result.job.failure or {}, result.job.status or {}, result.metric.name
    values: dict[str, Any] = {
        f"val_{score}": result.val, f"test_{score}": result.test, "host": failure.get("host") or status.get("host"),
        "epoch": status.get("epoch"), "reason": failure.get("reason"),
    }  # fmt: skip
    summary = result.summary
    if summary is not None:
        subject = summary.subject
        values |= {key: getattr(subject.speed, key) for key in SPEEDS}
        values |= {
            "parameters": subject.size.parameters, "wall_s": summary.wall_s, "host": summary.hardware.host,
            "visible_devices": summary.hardware.visible_devices,
        }  # fmt: skip
        if summary.student:
            values |= {f"test_{m.name}": summary.student.test.get(m.name) for m in summary.task.metrics}
        if summary.student and summary.student.best:
            best = summary.student.best
            values |= {"best_epoch": best.epoch, f"best_val_{score}": best.val.get(score)}
            values[f"best_test_{score}"] = best.test.get(score)
        if summary.teacher:
            values |= {"teacher_name": summary.teacher.name, f"teacher_test_{score}": summary.teacher.test.get(score)}
        if summary.ratios:
            values["score_relative_to_teacher"] = summary.ratios.score_relative_to_teacher
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def _score_columns(results: SweepResults) -> list[str]:
    """The columns of a job's numbers: the score first, then the other metrics of the task."""
    score = results.metric.name
    task = results.summaries[0].task if results.summaries else CLASSIFICATION
    others = [f"test_{metric.name}" for metric in task.metrics if metric.name != score]
    best = ["best_epoch", f"best_val_{score}", f"best_test_{score}", "teacher_name", f"teacher_test_{score}"]
    return [f"val_{score}", f"test_{score}", *others, *best, *OTHERS]


def as_csv(results: SweepResults) -> str:
    """Every job that has begun as a line: folder, state, swept keys, seed, scores, reason of a failure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    scores = _score_columns(results)
    writer.writerow([*FIRST_COLUMNS, *results.keys, SEED, *scores])
    for job in results.jobs:
        values = _csv_values(job)
        numbers = [values.get(key) for key in scores]  # None is written as ""
        writer.writerow([job.name, job.job.state.value, *job.values, job.seed, *numbers])
    return text.getvalue()


def points(difference: float, metric: Metric = CLASSIFICATION.chooses) -> str:
    """A difference with its sign, of two shares in percentage points.

    Example:
        >>> points(0.0123), points(-0.00001)
        ('+1.23', '0.00')
    """
    text = metric.number(abs(difference))
    return text if float(text) == 0 else f"{'+' if difference > 0 else '-'}{text}"


def _cells(setting: Setting, references: References, tied: str) -> list[str]:
    """A setting's cells of ``COLUMNS``."""
    teacher, baseline = references.teacher(setting), references.baseline(setting)
    relative = percent(setting.metric.relative(setting.test.mean, teacher)) if teacher and setting.test else ""
    gain = (
        points(setting.test.mean - baseline.test.mean, setting.metric)
        if baseline and setting.test and baseline.test
        else ""
    )
    finished, begun = len(setting.finished), len(setting.jobs)
    seeds = str(finished) if finished == begun else f"{finished} of {begun}"
    if not finished:
        seeds = ", ".join(dict.fromkeys(job.job.state.value for job in setting.jobs))
    gain = "itself" if references.is_own_baseline(setting) else gain
    return [str(setting.val), str(setting.test), relative, gain, tied, seeds]


def settings_table(results: SweepResults, references: References, limit: int) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one setting fills, and the rows, the best first."""
    equal = ties(results, references)
    tied = equal.tied if equal and len(equal.tied) > 1 else []
    rows = [
        [*map(display, s.values), *_cells(s, references, "tied" if s in tied else "")]
        for s in distinct(results, references)[:limit]
    ]
    columns = [*results.keys, *COLUMNS]
    filled = [i for i in range(len(columns)) if i < len(results.keys) or any(row[i] for row in rows)]
    return [columns[i] for i in filled], [[row[i] for i in filled] for row in rows]


def runs_table(results: SweepResults, limit: int) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one job fills, and a row per job: those of the best setting first."""
    columns = ["job", "setting", SEED, "validation", "test", "state"]
    rows = [
        [
            job.name, results.describe(job.values), job.seed,
            *("" if math.isnan(score) else job.metric.display(score) for score in (job.val, job.test)),
            job.job.state.value,
        ]
        for job in results.jobs[:limit]
    ]  # fmt: skip
    filled = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    return [columns[i] for i in filled], [[row[i] for i in filled] for row in rows]


def rerun_command(setting: Setting) -> str:
    """The command that repeats a setting, all of its seeds."""
    jobs = setting.finished or setting.jobs
    record = load(jobs[0].job.folder / RECORD) or {}
    overrides = [str(override) for override in record.get("overrides") or []]
    seeds = list(dict.fromkeys(job.job.overrides.get(SEED, "") for job in jobs))
    flags = ["--config-dir", str(record["config_dir"])] if record.get("config_dir") else []
    if len(seeds) > 1 and all(seeds):
        overrides = [f"{SEED}={','.join(seeds)}" if o.startswith(f"{SEED}=") else o for o in overrides]
        flags = [*flags, "-m"]
    return invocation("train", *flags, *overrides)


def job_counts(results: SweepResults) -> str:
    """How many jobs are in which state: ``"20 of 24 jobs finished, 1 failed, 3 running"``."""
    parts = [f"{results.count(State.finished)} of {results.total} jobs finished"]
    others = (State.failed, State.pruned, State.running, State.stopped)
    parts += [f"{results.count(state)} {state.value}" for state in others if results.count(state)]
    left = results.total - len(results.jobs)
    return ", ".join([*parts, *([f"{left} not begun"] if left else [])])


def jobs_by_failure(results: SweepResults) -> list[tuple[str, list[JobResult]]]:
    """The failed jobs by reason, the most frequent reason first."""
    by_reason: dict[str, list[JobResult]] = {}
    for job in results.jobs:
        if job.job.state == State.failed:
            by_reason.setdefault(str((job.job.failure or {}).get("reason") or "no reason is known"), []).append(job)
    return sorted(by_reason.items(), key=lambda pair: -len(pair[1]))


def job_names(jobs: Sequence[JobResult], limit: int = 6) -> str:
    """Jobs by their folders: ``"job 3"``, ``"jobs 3, 4, ... (12)"``."""
    names = ", ".join(job.name for job in jobs[:limit])
    more = f", ... ({len(jobs)})" if len(jobs) > limit else ""
    return f"job{'s' if len(jobs) > 1 else ''} {names}{more}"


def print_report(results: SweepResults, references: References) -> None:
    """Prints the table, the references, the best setting's command, and the failures."""
    lines: list[str] = []
    scored = sum(bool(setting.val) for setting in distinct(results, references))
    if scored:
        columns, rows = settings_table(results, references, min(MAX_LINES, scored))
        table = Table()
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i < len(results.keys) else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        print(f"mean ± std over seeds, {kept_epochs(results.summaries)}; the best setting on validation first")
        print_table(table, [])
        if scored > MAX_LINES:
            lines.append(f"and {scored - MAX_LINES} more settings: results.csv")
    for name, accuracy in references.teachers.items():
        lines.append(f"teacher {name}: {results.metric.display(accuracy)} on test")
    if references.only_baseline is not None:
        lines.append(f"student without distillation: {references.only_baseline.test} on test")
    for warning in references.warnings:
        lines.append(f"warning: {warning}")
    lines.append(job_counts(results))
    for reason, jobs in jobs_by_failure(results)[:MAX_LINES]:
        lines.append(f"failed: {job_names(jobs)}: {reason}")
    best = results.best
    if best is not None:
        lines.append(f"best on validation: {results.describe(best.values)}: {best.test} on test; again with:")
        lines.append(f"  {rerun_command(best)}")
        if text := str(ties(results, references) or ""):
            lines.append(text)
    print("\n".join(lines), flush=True)
