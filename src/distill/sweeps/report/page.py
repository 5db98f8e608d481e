"""report.html of a sweep."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distill.evaluation.reporting.rendering import render
from distill.sweeps.jobs import State, again
from distill.sweeps.report.effects import effects
from distill.sweeps.report.importance import importance_chart
from distill.sweeps.report.learning_curves import learning_curves
from distill.sweeps.report.maps import maps
from distill.sweeps.report.mean_std import ordered
from distill.sweeps.report.parallel import parallel, varied_keys
from distill.sweeps.report.references import References
from distill.sweeps.report.results import SEED, JobResult, SweepResults, query
from distill.sweeps.report.table import (
    job_counts,
    job_names,
    jobs_by_failure,
    points,
    rerun_command,
    runs_table,
    settings_table,
)
from distill.sweeps.report.ties import distinct, ties
from distill.training.summary import RunSummary, kept_epochs
from distill.utils.invocation import invocation

TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("job", "setting", "how far", "host")  # of jobs that have not finished
MAX_ROWS = 100  # settings, and jobs of a state, that are shown at first; all are in results.csv
MAX_CHOSEN = 5000  # settings, and runs, that can be chosen on the page


def _distinct(results: SweepResults, value: Callable[[RunSummary], object], limit: int = 3) -> str:
    """The distinct values of the finished jobs, in a line."""
    values = (value(summary) for summary in results.summaries)
    return _limited(list(dict.fromkeys(str(each) for each in values if each is not None)), limit)


def _limited(values: list[str], limit: int) -> str:
    return ", ".join([*values[:limit], *([f"... ({len(values)})"] if len(values) > limit else [])])


def _students(results: SweepResults) -> str:
    return _distinct(results, lambda summary: summary.student and summary.student.name)


def _teachers(results: SweepResults) -> str:
    return _distinct(results, lambda summary: summary.teacher and summary.teacher.name)


def heading(results: SweepResults) -> str:
    """The models, the data, and the swept keys."""
    data = _distinct(results, lambda summary: summary.data.name)
    student, teacher = _students(results), _teachers(results)
    models = f"{student}{f' taught by {teacher}' if teacher else ''}" if student else teacher
    subject = f"{models} on {data}" if data else str(results.folder)
    return f"{subject}: {' × '.join(results.keys)}" if results.keys else subject


def lead(results: SweepResults, references: References) -> str:
    """The result in a sentence or three."""
    best = results.best
    if best is None:
        return "No job has finished yet."
    scored = [setting for setting in distinct(results, references) if setting.val]
    seeds = f"the mean of {best.test.n} seeds" if best.test.n > 1 else "one seed"
    metric = results.metric
    is_right = metric.name == "acc"
    text = f"{_students(results) or _teachers(results)} with {results.describe(best.values)} "
    text += f"is right on {best.test} of the test samples" if is_right else f"has {metric.label} {best.test} on test"
    text += f" ({seeds})"
    if len(scored) > 1:
        text += f", the best of {len(scored)} settings by validation {metric.word} ({best.val})"
    on = "on " if is_right else ""
    teachers = list(references.teachers.items())[:3]
    parts = [f"the teacher {name} {on}{metric.display(value)}" for name, value in teachers]
    baseline = references.baseline(best)
    if references.is_own_baseline(best):
        parts.append("and this is the student without distillation: on validation none that was taught is better")
    elif baseline and baseline.test:
        gain = best.test.mean - baseline.test.mean
        word = "gained" if metric.is_better(best.test.mean, baseline.test.mean) else "lost"
        change = f"{metric.number(abs(gain))}{' points' if metric.unit == 'share' else ''} {word}"
        change = "no difference" if float(metric.number(abs(gain))) == 0 else change
        if abs(gain) < max(best.test.std or 0.0, baseline.test.std or 0.0):
            change += ", within one standard deviation over seeds"
        parts.append(f"the same student without distillation {on}{baseline.test}: {change}")
    text = f"{text}{'; ' if parts else ''}{', '.join(parts)}."
    tied = str(ties(results, references) or "")
    return f"{text} {tied[:1].upper()}{tied[1:]}." if tied else text


def tiles(results: SweepResults, references: References) -> list[dict[str, str]]:
    """The headline numbers: a number, what it is, a detail."""
    best, headline = results.best, []
    if best is not None:
        teacher, baseline = references.teacher(best), references.baseline(best)
        metric = results.metric
        spread = f"± {metric.number(best.test.std)} over {best.test.n} seeds" if best.test.std is not None else ""
        value, label = metric.display(best.test.mean), f"test {metric.word}, best setting"
        headline.append((value, label, spread or f"validation {best.val}"))
        if teacher:
            relative = f"{100 * metric.relative(best.test.mean, teacher):.1f} %"
            label = f"{metric.word} relative to the teacher"
            headline.append((relative, label, f"teacher {metric.display(teacher)}"))
        if baseline and baseline.test and not references.is_own_baseline(best):
            gain = points(best.test.mean - baseline.test.mean, metric)
            unit = "points, " if metric.unit == "share" else ""
            label = f"{unit}Δ against the student without distillation"
            headline.append((gain, label, f"which has {baseline.test}"))
    finished, *others = job_counts(results).split(", ")
    headline.append((finished.removesuffix(" jobs finished"), "jobs finished", ", ".join(others) or "none failed"))
    seconds = sum(summary.wall_s for summary in results.summaries)
    if seconds:
        per_job = f"{_duration(seconds / len(results.summaries))} per job"
        headline.append((_duration(seconds), "of work in finished jobs", per_job))
    return [{"value": value, "label": label, "detail": detail} for value, label, detail in headline]


def _duration(seconds: float) -> str:
    """A duration to three digits.

    Example:
        >>> _duration(5.04), _duration(600), _duration(1e4), _duration(1e6)
        ('5.0 s', '10 min', '2.78 h', '278 h')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def _unfinished_row(results: SweepResults, job: JobResult) -> list[str]:
    """A job's cells of ``COLUMNS``."""
    status, failure = job.job.status or {}, job.job.failure or {}
    epoch = f"epoch {status['epoch']}" if status.get("epoch") is not None else ""
    epoch += f" of {status['max_epochs']}" if epoch and status.get("max_epochs") else ""
    score = status.get("val_score")
    val = f"{results.metric.display(score)} on validation" if isinstance(score, float) and math.isfinite(score) else ""
    setting = " ".join(filter(None, [results.describe(job.values), f"seed={job.seed}" if job.seed else ""]))
    host = str(failure.get("host") or status.get("host") or "")
    return [job.name, setting, ", ".join(filter(None, [epoch, val])), host]


def unfinished(results: SweepResults) -> list[dict[str, Any]]:
    """The jobs that have not finished, by state: their folders, settings, and progress."""
    groups = []
    for state in (State.running, State.pruned, State.stopped):
        jobs = [job for job in results.jobs if job.job.state == state]
        if jobs:
            rows = [_unfinished_row(results, job) for job in jobs[:MAX_ROWS]]
            filled = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
            groups.append({
                "state": state.value, "columns": [COLUMNS[i] for i in filled],
                "rows": [[row[i] for i in filled] for row in rows], "more": max(0, len(jobs) - MAX_ROWS),
            })  # fmt: skip
    return groups


def failures(results: SweepResults) -> list[dict[str, str]]:
    """The failures: the reason, the jobs, their settings."""
    groups = []
    for reason, jobs in jobs_by_failure(results)[:MAX_ROWS]:
        settings = list(dict.fromkeys(results.describe(job.values) for job in jobs))
        groups.append({"reason": reason, "jobs": job_names(jobs, 12), "settings": _limited(settings, 4)})
    return groups


def about(results: SweepResults) -> list[tuple[str, str]]:
    """Data, models, hardware and versions."""
    pairs = [
        ("data", _distinct(results, lambda summary: summary.data.name)),
        ("student", _students(results)),
        ("teacher", _teachers(results)),
        ("precision", _distinct(results, lambda summary: summary.precision)),
        ("launcher", str(results.record.get("launcher") or "")),
        ("device", _distinct(results, lambda summary: summary.hardware.device)),
        ("hosts", _distinct(results, lambda summary: summary.hardware.host, 8)),
        ("CUDA_VISIBLE_DEVICES", _distinct(results, lambda summary: summary.hardware.visible_devices, 8)),
        ("processor", _distinct(results, lambda summary: summary.hardware.cpu)),
        ("torch", _distinct(results, lambda summary: summary.versions.get("torch"))),
        ("lightning", _distinct(results, lambda summary: summary.versions.get("lightning"))),
        ("commit", _distinct(results, lambda summary: summary.git_commit and summary.git_commit[:12])),
    ]
    return [(name, value) for name, value in pairs if value]


def command(results: SweepResults) -> str | None:
    """The command of the sweep as a line of a shell; of a run, its own."""
    if results.record.get("overrides"):
        config_dir = results.record.get("config_dir")
        flags = ["--config-dir", str(config_dir)] if config_dir else []
        return invocation("train", "-m", *flags, *map(str, results.record["overrides"]))
    return results.summaries[0].command if results.summaries else None


def page(results: SweepResults, references: References) -> str:
    """The page as HTML, complete in itself."""
    best, rows = results.best, distinct(results, references)
    columns, table = settings_table(results, references, MAX_CHOSEN)
    run_columns, runs = runs_table(results, MAX_CHOSEN)
    pairs = [query(key, v) for i, key in enumerate(results.keys) for v in ordered(s.values[i] for s in rows)]
    important, meaning = importance_chart(results) if len(varied_keys(results)) > 2 else (None, "")
    by_key, effects_legend = effects(results, references)
    failed = failures(results)
    left = results.total - len(results.jobs)
    return render(
        "sweep.html",
        TEMPLATES,
        sweep=str(results.folder),
        heading=heading(results),
        lead=lead(results, references),
        warnings=references.warnings,
        epochs=kept_epochs(results.summaries),
        job_counts=job_counts(results),
        tiles=tiles(results, references),
        rerun_command=rerun_command(best) if best is not None else None,
        best=results.describe(best.values) if best is not None else "",
        others_have_more_seeds=best is not None and any(s.val.n > best.val.n for s in results.settings),
        maps=maps(results),
        effects=by_key,
        effects_legend=effects_legend,
        curves=learning_curves(results, references),
        score=results.metric,
        columns=columns,
        table=list(zip(map(results.query, (setting.values for setting in rows)), table, strict=False)),
        max_rows=MAX_ROWS,
        pairs=pairs,
        run_columns=run_columns,
        runs=[
            (f"{results.query(job.values)} {SEED}={job.seed}", row)
            for job, row in zip(results.jobs, runs, strict=False)
        ],
        parallel=parallel(results),
        importance=important,
        importance_text=meaning,
        best_row=rows.index(best) if best in rows else -1,
        more=max(0, len(rows) - MAX_ROWS),
        failures=failed,
        unfinished=unfinished(results),
        resume=again(results.folder),
        resumable=bool(results.record) and (bool(failed) or left > 0 or results.count(State.stopped) > 0),
        about=about(results),
        command=command(results),
    )
