"""report.html of a sweep."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from distill.evaluation.reporting.charts import render
from distill.sweeps.jobs import State
from distill.sweeps.report.effects import effects
from distill.sweeps.report.findings import Findings, Outcome, Setting
from distill.sweeps.report.learning import learning
from distill.sweeps.report.maps import maps
from distill.sweeps.report.references import References
from distill.sweeps.report.table import again, filled, names, points, reasons, states
from distill.training.summary import RunSummary
from distill.utils.invocation import invocation
from distill.utils.units import percent

TEMPLATES = Path(__file__).parent / "templates"
COLUMNS = ("job", "setting", "how far", "host")  # of jobs that have not finished
ROWS = 100  # settings, and jobs of a kind, that the page lists; all are in results.csv


def _distinct(findings: Findings, value: Callable[[RunSummary], object]) -> list[str]:
    """The distinct values of the finished jobs, as text."""
    values = map(value, findings.summaries)
    return list(dict.fromkeys(str(each) for each in values if each is not None))


def _students(findings: Findings) -> list[str]:
    return _distinct(findings, lambda summary: summary.student and summary.student.name)


def _teachers(findings: Findings) -> list[str]:
    return _distinct(findings, lambda summary: summary.teacher and summary.teacher.name)


def _several(values: list[str], most: int = 3) -> str:
    return ", ".join([*values[:most], *([f"... ({len(values)})"] if len(values) > most else [])])


def heading(findings: Findings) -> str:
    """What was swept over what."""
    data = _several(_distinct(findings, lambda summary: summary.data.name))
    student, teacher = _several(_students(findings)), _several(_teachers(findings))
    who = f"{student}{f' taught by {teacher}' if teacher else ''}" if student else teacher
    where = f"{who} on {data}" if data else str(findings.folder)
    return f"{where}: {' × '.join(findings.keys)}" if findings.keys else where


def lead(findings: Findings, references: References) -> str:
    """The page in a sentence or three."""
    best = findings.best
    if best is None:
        return "No job has finished yet."
    scored = [setting for setting in findings.settings if setting.val]
    students = _several(_students(findings) or _teachers(findings))
    seeds = f"the mean of {best.test.n} seeds" if best.test.n > 1 else "one seed"
    text = f"{students} with {findings.said(best)} is right on {best.test} of the test images ({seeds})"
    if len(scored) > 1:
        text += f", the best of {len(scored)} settings by validation accuracy ({best.val})"
    parts = [f"the teacher {name} on {percent(value)}" for name, value in list(references.teachers.items())[:3]]
    baseline = references.baseline(best)
    if references.is_baseline(best) and not references.given:
        parts.append("and this is the student alone: on validation none that was taught is better")
    elif baseline and baseline.test:
        gain = best.test.mean - baseline.test.mean
        change = "no difference" if points(gain) == "0.00" else f"{points(abs(gain))[1:]} points {_more(gain)}"
        if abs(gain) < max(best.test.std or 0.0, baseline.test.std or 0.0):
            change += ", within one standard deviation over seeds"
        parts.append(f"the same student trained alone on {baseline.test}: {change}")
    return f"{text}{'; ' if parts else ''}{', '.join(parts)}."


def _more(gain: float) -> str:
    return "gained" if gain > 0 else "lost"


def tiles(findings: Findings, references: References) -> list[dict[str, str]]:
    """The headline numbers: a number, what it is, what is behind it."""
    best, found = findings.best, []
    if best is not None:
        teacher, baseline = references.teacher(best), references.baseline(best)
        found.append(_tile(percent(best.test.mean), "test accuracy, best setting", _behind(best)))
        if teacher:
            kept = f"{100 * best.test.mean / teacher:.1f} %"
            found.append(_tile(kept, "of the teacher's kept", f"teacher {percent(teacher)}"))
        if baseline and baseline.test and not (references.is_baseline(best) and not references.given):
            detail = f"alone {baseline.test}"
            found.append(_tile(points(best.test.mean - baseline.test.mean), "points over the student alone", detail))
    finished, *others = states(findings).split(", ")
    found.append(_tile(finished.removesuffix(" jobs finished"), "jobs finished", ", ".join(others) or "none failed"))
    seconds = sum(summary.wall_s for summary in findings.summaries)
    if seconds:
        per_job = _duration(seconds / len(findings.summaries))
        found.append(_tile(_duration(seconds), "of work in finished jobs", f"{per_job} per job"))
    return found


def _tile(value: str, label: str, detail: str) -> dict[str, str]:
    return {"value": value, "label": label, "detail": detail}


def _behind(best: Setting) -> str:
    if best.test.std is None:
        return f"validation {best.val}"
    return f"± {100 * best.test.std:.2f} over {best.test.n} seeds"


def _duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> _duration(5.04), _duration(600), _duration(1e4), _duration(1e6)
        ('5.0 s', '10 min', '2.78 h', '278 h')
    """
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def unfinished(findings: Findings) -> list[dict[str, Any]]:
    """The jobs that have not finished, by state: their folders, settings, and how far they came."""
    setting = {id(outcome): each for each in findings.settings for outcome in each.outcomes}

    def row(outcome: Outcome) -> list[str]:
        status, failure = outcome.job.status or {}, outcome.job.failure or {}
        epoch = f"epoch {status['epoch']}" if status.get("epoch") is not None else ""
        epoch += f" of {status['max_epochs']}" if epoch and status.get("max_epochs") else ""
        accuracy = status.get("val_acc")
        at = f"{percent(accuracy)} on validation" if isinstance(accuracy, float) and math.isfinite(accuracy) else ""
        host = failure.get("host") or status.get("host") or ""
        where = [findings.said(setting[id(outcome)]), f"seed={outcome.seed}" if outcome.seed else ""]
        return [outcome.name, " ".join(filter(None, where)), ", ".join(filter(None, [epoch, at])), str(host)]

    found = []
    for state in (State.running, State.pruned, State.stopped):
        inside = [outcome for outcome in findings.outcomes if outcome.job.state == state]
        if inside:
            rows = [row(outcome) for outcome in inside[:ROWS]]
            kept = [i for i in range(len(COLUMNS)) if any(cells[i] for cells in rows)]
            found.append({
                "state": state.value, "columns": [COLUMNS[i] for i in kept],
                "rows": [[cells[i] for i in kept] for cells in rows], "more": max(0, len(inside) - ROWS),
            })  # fmt: skip
    return found


def failures(findings: Findings) -> list[dict[str, Any]]:
    """Why jobs failed: the reason, which, with what."""
    setting = {id(outcome): each for each in findings.settings for outcome in each.outcomes}
    found = []
    for reason, outcomes in reasons(findings)[:ROWS]:
        with_ = list(dict.fromkeys(findings.said(setting[id(outcome)]) for outcome in outcomes))
        found.append({"reason": reason, "jobs": names(outcomes, 12), "settings": _several(with_, 4)})
    return found


def about(findings: Findings) -> list[tuple[str, str]]:
    """What the numbers were measured with."""
    distinct = partial(_distinct, findings)
    pairs = [
        ("data", _several(distinct(lambda summary: summary.data.name))),
        ("student", _several(_students(findings))),
        ("teacher", _several(_teachers(findings))),
        ("precision", _several(distinct(lambda summary: summary.precision))),
        ("launcher", str(findings.record.get("launcher") or "")),
        ("device", _several(distinct(lambda summary: summary.hardware.device))),
        ("hosts", _several(distinct(lambda summary: summary.hardware.host), 8)),
        ("CUDA_VISIBLE_DEVICES", _several(distinct(lambda summary: summary.hardware.visible_devices), 8)),
        ("processor", _several(distinct(lambda summary: summary.hardware.cpu))),
        ("torch", _several(distinct(lambda summary: summary.versions.get("torch")))),
        ("lightning", _several(distinct(lambda summary: summary.versions.get("lightning")))),
        ("commit", _several([commit[:12] for commit in distinct(lambda summary: summary.git_commit)])),
    ]
    return [(name, value) for name, value in pairs if value]


def command(findings: Findings) -> str | None:
    """The command of the sweep as a line of a shell; of a run, its own."""
    if findings.record.get("overrides"):
        own = findings.record.get("config_dir")
        flags = ["--config-dir", str(own)] if own else []
        return invocation("train", "-m", *flags, *map(str, findings.record["overrides"]))
    return findings.summaries[0].command if findings.summaries else None


def page(findings: Findings, references: References) -> str:
    """The page as HTML, complete in itself."""
    best = findings.best
    columns, table = filled(findings, references, ROWS)
    chosen = findings.settings.index(best) if best is not None else -1
    by_key, effects_legend = effects(findings, references)
    failed = failures(findings)
    left = findings.total - len(findings.outcomes)
    return render(
        "sweep.html",
        TEMPLATES,
        sweep=str(findings.folder),
        heading=heading(findings),
        lead=lead(findings, references),
        warnings=references.warnings,
        states=states(findings),
        tiles=tiles(findings, references),
        again=again(best) if best is not None else None,
        best=findings.said(best) if best is not None else "",
        fewer=best is not None and any(setting.val.n > best.val.n for setting in findings.settings),
        maps=maps(findings),
        effects=by_key,
        effects_legend=effects_legend,
        curves=learning(findings, references),
        columns=columns,
        keys=len(findings.keys),
        table=table,
        chosen=chosen,
        more=max(0, len(findings.settings) - ROWS),
        failures=failed,
        unfinished=unfinished(findings),
        left=left,
        resume=invocation("train", "-m", f"sweep.resume={findings.folder}"),
        resumable=bool(findings.record) and (bool(failed) or left > 0 or findings.count(State.stopped) > 0),
        about=about(findings),
        command=command(findings),
    )
