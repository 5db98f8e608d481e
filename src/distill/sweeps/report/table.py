"""A sweep's findings on the terminal, and every job as a line of results.csv."""

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from distill.config.command_line import RECORD
from distill.sweeps.jobs import State, load
from distill.sweeps.report.findings import SEED, Findings, Outcome, Setting
from distill.sweeps.report.references import References
from distill.sweeps.report.spread import shown
from distill.utils.invocation import invocation
from distill.utils.units import percent

LINES = 20  # settings and failures that the terminal shows
FIRST = ("job", "state")
SCORES = ("val_acc", "test_acc", "test_top5", "test_agreement", "best_epoch", "best_val_acc", "best_test_acc",
          "teacher_name", "teacher_test_acc", "accuracy_kept", "parameters", "latency_ms", "throughput", "wall_s",
          "host", "visible_devices", "epoch", "reason")  # fmt: skip


def _row(outcome: Outcome) -> dict[str, Any]:
    """A job's numbers, shares from 0 to 1; what it does not have is left out."""
    failure, status = outcome.job.failure or {}, outcome.job.status or {}
    row: dict[str, Any] = {
        "val_acc": outcome.val, "test_acc": outcome.test, "host": failure.get("host") or status.get("host"),
        "epoch": status.get("epoch"), "reason": failure.get("reason"),
    }  # fmt: skip
    summary = outcome.summary
    if summary is not None:
        subject = summary.subject
        row |= {
            "parameters": subject.size.parameters, "latency_ms": subject.speed.latency_ms,
            "throughput": subject.speed.throughput, "wall_s": summary.wall_s, "host": summary.hardware.host,
            "visible_devices": summary.hardware.visible_devices,
        }  # fmt: skip
        if summary.student:
            row |= {"test_top5": summary.student.test.top5, "test_agreement": summary.student.test.agreement}
        if summary.student and summary.student.best:
            best = summary.student.best
            row |= {"best_epoch": best.epoch, "best_val_acc": best.val.acc, "best_test_acc": best.test.acc}
        if summary.teacher:
            row |= {"teacher_name": summary.teacher.name, "teacher_test_acc": summary.teacher.test.acc}
        if summary.ratios:
            row["accuracy_kept"] = summary.ratios.accuracy_kept
    return {key: value for key, value in row.items() if value is not None and not _nan(value)}


def _nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def as_csv(findings: Findings) -> str:
    """Every job that has begun as a line: folder, state, swept keys, seed, scores, reason of a failure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FIRST, *findings.keys, SEED, *SCORES])
    for outcome in findings.outcomes:
        row = _row(outcome)
        values = ["" if value is None else value for value in outcome.values]
        scores = [row.get(key, "") for key in SCORES]
        writer.writerow([outcome.name, outcome.job.state.value, *values, outcome.seed, *scores])
    return text.getvalue()


def points(share: float) -> str:
    """A difference of two shares in points.

    Example:
        >>> points(0.0123), points(-0.00001)
        ('+1.23', '0.00')
    """
    text = f"{100 * share:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def cells(setting: Setting, references: References) -> list[str]:
    """What is said of a setting: validation, test, share of the teacher's, gain over the student alone, seeds."""
    teacher, baseline = references.teacher(setting), references.baseline(setting)
    is_itself = references.is_baseline(setting) and not references.given
    kept = percent(setting.test.mean / teacher) if teacher and setting.test else ""
    gain = points(setting.test.mean - baseline.test.mean) if baseline and setting.test and baseline.test else ""
    done, begun = len(setting.finished), len(setting.outcomes)
    seeds = str(done) if done == begun else f"{done} of {begun}"
    if not done:
        seeds = ", ".join(dict.fromkeys(outcome.job.state.value for outcome in setting.outcomes))
    return [
        str(setting.val), str(setting.test), kept, "alone" if is_itself else gain, seeds,
    ]  # fmt: skip


COLUMNS = ("validation", "test", "of the teacher's", "points over alone", "seeds")


def filled(findings: Findings, references: References, most: int) -> tuple[list[str], list[list[str]]]:
    """The columns that at least one setting fills, and the rows, the best first."""
    table = [
        [*map(shown, setting.values), *cells(setting, references)] for setting in findings.settings[:most]
    ]  # fmt: skip
    columns = [*findings.keys, *COLUMNS]
    kept = [i for i in range(len(columns)) if i < len(findings.keys) or any(row[i] for row in table)]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in table]


def again(setting: Setting) -> str:
    """The command that repeats a setting, all of its seeds."""
    outcomes = setting.finished or setting.outcomes
    record = load(outcomes[0].job.folder / RECORD) or {}
    own = [str(override) for override in record.get("overrides") or []]
    seeds = list(dict.fromkeys(outcome.job.overrides.get(SEED, "") for outcome in outcomes))
    flags = ["--config-dir", str(record["config_dir"])] if record.get("config_dir") else []
    if len(seeds) > 1 and all(seeds):
        own = [f"{SEED}={','.join(seeds)}" if o.startswith(f"{SEED}=") else o for o in own]
        flags = [*flags, "-m"]
    return invocation("train", *flags, *own)


def states(findings: Findings) -> str:
    """How many jobs are where.

    ``"20 of 24 jobs finished, 1 failed, 3 running"``.
    """
    parts = [f"{findings.count(State.finished)} of {findings.total} jobs finished"]
    kinds = (State.failed, State.pruned, State.running, State.stopped)
    parts += [f"{findings.count(kind)} {kind.value}" for kind in kinds if findings.count(kind)]
    left = findings.total - len(findings.outcomes)
    return ", ".join([*parts, *([f"{left} not begun"] if left else [])])


def reasons(findings: Findings) -> list[tuple[str, list[Outcome]]]:
    """Why jobs failed, those that failed alike together, the most frequent reason first."""
    found: dict[str, list[Outcome]] = {}
    for outcome in findings.outcomes:
        if outcome.job.state == State.failed:
            found.setdefault(str((outcome.job.failure or {}).get("reason") or "no reason is known"), []).append(outcome)
    return sorted(found.items(), key=lambda pair: -len(pair[1]))


def names(outcomes: Sequence[Outcome], most: int = 6) -> str:
    """Jobs by their folders: ``"job 3"``, ``"jobs 3, 4, ... (12)"``."""
    listed = ", ".join(outcome.name for outcome in outcomes[:most])
    more = f", ... ({len(outcomes)})" if len(outcomes) > most else ""
    return f"job{'s' if len(outcomes) > 1 else ''} {listed}{more}"


def show(findings: Findings, references: References, most: int = LINES) -> None:
    """Prints the table, the references, the best setting's command, and what went wrong."""
    console = Console(width=None if Console().is_terminal else 120)

    def say(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

    scored = [setting for setting in findings.settings if setting.val]
    if scored:
        columns, rows = filled(findings, references, min(most, len(scored)))
        view = Table(title="mean ± std over seeds, last epoch; the best on validation first", title_justify="left")
        for i, column in enumerate(columns):
            view.add_column(column, justify="left" if i < len(findings.keys) else "right", overflow="fold")
        for row in rows:
            view.add_row(*row)
        console.print(view)
        if len(scored) > most:
            say(f"and {len(scored) - most} more settings: results.csv")
    for name, accuracy in references.teachers.items():
        say(f"teacher {name}: {percent(accuracy)} on test")
    if references.line is not None:
        say(f"student alone: {references.line.test} on test")
    for line in references.warnings:
        say(f"warning: {line}")
    say(states(findings))
    for reason, outcomes in reasons(findings)[:most]:
        say(f"failed: {names(outcomes)}: {reason}")
    best = findings.best
    if best is not None:
        say(f"best on validation: {findings.said(best)}: {best.test} on test; again with:")
        say(f"  {again(best)}")
