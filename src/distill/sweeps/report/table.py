"""A sweep's results on the terminal, and every job as a line of results.csv."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from distill.config.command_line import RECORD
from distill.sweeps.jobs import State, load
from distill.sweeps.report.mean_std import display
from distill.sweeps.report.references import References
from distill.sweeps.report.results import SEED, JobResult, Setting, SweepResults
from distill.utils.invocation import invocation
from distill.utils.units import percent

MAX_LINES = 20  # settings and failures on the terminal
FIRST_COLUMNS = ("job", "state")
SCORES = ("val_acc", "test_acc", "test_top5", "test_agreement", "best_epoch", "best_val_acc", "best_test_acc",
          "teacher_name", "teacher_test_acc", "accuracy_kept", "parameters", "latency_ms", "throughput", "wall_s",
          "host", "visible_devices", "epoch", "reason")  # fmt: skip
COLUMNS = ("validation", "test", "of the teacher's", "points over alone", "seeds")


def _csv_values(result: JobResult) -> dict[str, Any]:
    """A job's numbers by column of ``SCORES``, shares from 0 to 1; unknown ones are left out."""
    failure, status = result.job.failure or {}, result.job.status or {}
    values: dict[str, Any] = {
        "val_acc": result.val, "test_acc": result.test, "host": failure.get("host") or status.get("host"),
        "epoch": status.get("epoch"), "reason": failure.get("reason"),
    }  # fmt: skip
    summary = result.summary
    if summary is not None:
        subject = summary.subject
        values |= {
            "parameters": subject.size.parameters, "latency_ms": subject.speed.latency_ms,
            "throughput": subject.speed.throughput, "wall_s": summary.wall_s, "host": summary.hardware.host,
            "visible_devices": summary.hardware.visible_devices,
        }  # fmt: skip
        if summary.student:
            values |= {"test_top5": summary.student.test.top5, "test_agreement": summary.student.test.agreement}
        if summary.student and summary.student.best:
            best = summary.student.best
            values |= {"best_epoch": best.epoch, "best_val_acc": best.val.acc, "best_test_acc": best.test.acc}
        if summary.teacher:
            values |= {"teacher_name": summary.teacher.name, "teacher_test_acc": summary.teacher.test.acc}
        if summary.ratios:
            values["accuracy_kept"] = summary.ratios.accuracy_kept
    return {
        key: value for key, value in values.items()
        if value is not None and not (isinstance(value, float) and math.isnan(value))
    }  # fmt: skip


def as_csv(results: SweepResults) -> str:
    """Every job that has begun as a line: folder, state, swept keys, seed, scores, reason of a failure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIRST_COLUMNS, *results.keys, SEED, *SCORES])
    for job in results.jobs:
        values = _csv_values(job)
        scores = [values.get(key, "") for key in SCORES]
        writer.writerow([job.name, job.job.state.value, *job.values, job.seed, *scores])  # None is written as ""
    return text.getvalue()


def points(share: float) -> str:
    """A difference of two shares in percentage points.

    Example:
        >>> points(0.0123), points(-0.00001)
        ('+1.23', '0.00')
    """
    text = f"{100 * share:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def _cells(setting: Setting, references: References) -> list[str]:
    """A setting's cells of ``COLUMNS``."""
    teacher, baseline = references.teacher(setting), references.baseline(setting)
    kept = percent(setting.test.mean / teacher) if teacher and setting.test else ""
    gain = points(setting.test.mean - baseline.test.mean) if baseline and setting.test and baseline.test else ""
    finished, begun = len(setting.finished), len(setting.jobs)
    seeds = str(finished) if finished == begun else f"{finished} of {begun}"
    if not finished:
        seeds = ", ".join(dict.fromkeys(job.job.state.value for job in setting.jobs))
    return [str(setting.val), str(setting.test), kept, "alone" if references.is_own_baseline(setting) else gain, seeds]


def settings_table(results: SweepResults, references: References, limit: int) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one setting fills, and the rows, the best first."""
    rows = [[*map(display, s.values), *_cells(s, references)] for s in results.settings[:limit]]
    columns = [*results.keys, *COLUMNS]
    filled = [i for i in range(len(columns)) if i < len(results.keys) or any(row[i] for row in rows)]
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
    console = Console(width=None if Console().is_terminal else 120)

    def print_line(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    scored = sum(bool(setting.val) for setting in results.settings)
    if scored:
        columns, rows = settings_table(results, references, min(MAX_LINES, scored))
        table = Table(title="mean ± std over seeds, last epoch; the best on validation first", title_justify="left")
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i < len(results.keys) else "right", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        if scored > MAX_LINES:
            print_line(f"and {scored - MAX_LINES} more settings: results.csv")
    for name, accuracy in references.teachers.items():
        print_line(f"teacher {name}: {percent(accuracy)} on test")
    if references.only_baseline is not None:
        print_line(f"student alone: {references.only_baseline.test} on test")
    for warning in references.warnings:
        print_line(f"warning: {warning}")
    print_line(job_counts(results))
    for reason, jobs in jobs_by_failure(results)[:MAX_LINES]:
        print_line(f"failed: {job_names(jobs)}: {reason}")
    best = results.best
    if best is not None:
        print_line(f"best on validation: {results.describe(best.values)}: {best.test} on test; again with:")
        print_line(f"  {rerun_command(best)}")
