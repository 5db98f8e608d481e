"""``distill table``: several runs as one Markdown table; mean ± std over seeds."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from distill.cli.commands import launch
from distill.config.command_line import RECORD
from distill.config.key_sets import NOT_A_SETTING
from distill.config.options import arg
from distill.config.schema import leaves
from distill.evaluation.compare.entries import strategy_of
from distill.sweeps.jobs import load as load_record, overrides_by_key
from distill.sweeps.report.mean_std import MeanStd
from distill.tasks.info import AGREEMENT, Metric, TaskInfo
from distill.training.summary import FILE, RunSummary, StudentResult, kept_epochs, read
from distill.utils.console import markdown_table
from distill.utils.errors import UserError

ABOUT = """
Shows every run below some folders as a row of a Markdown table, seeds taken together.

  {command} outputs/sweeps/2026-01-31/12-00-00 outputs/2026-01-31/13-00-00
"""


@dataclass
class Options:
    """The keys of ``distill table``."""

    folders: list[str] = arg("folders of runs or sweeps; also without folders=", [])


class StudentRun(NamedTuple):
    """A finished run with a student, the option of the group kd that its command named, its flat configuration."""

    summary: RunSummary
    student: StudentResult
    kd: str | None
    settings: dict[str, Any]


class Row(NamedTuple):
    """Runs that differ in their seeds only, and the settings in which they differ from other rows."""

    settings: dict[str, Any]
    runs: list[StudentRun]

    def cells(self) -> list[str]:
        """The cells below the settings, the score, the metrics beside it and the seeds."""
        tests = [run.student.test for run in self.runs]
        metrics = (self.runs[0].summary.task.chooses, *_beside(self.runs[0].summary.task))
        scores = [MeanStd.of((test.get(m.name, math.nan) for test in tests), m) for m in metrics]
        seeds = " ".join(map(str, sorted(run.summary.seed for run in self.runs)))
        return [*map(str, self.settings.values()), *(str(s).removesuffix(" %") or "–" for s in scores), seeds]


def load(folders: Sequence[Path]) -> list[StudentRun]:
    """The runs below the folders that have a student.

    Raises:
        UserError: there is none, or a summary that cannot be read.
    """
    runs = []
    for path in sorted({path.parent for folder in folders for path in folder.rglob(FILE)}):
        run = read(path)
        if run.student:
            overrides = overrides_by_key((load_record(path / RECORD) or {}).get("overrides") or [])
            runs.append(StudentRun(run, run.student, overrides.get("kd"), dict(leaves(run.config))))
    if not runs:
        raise UserError(f"no {FILE} of a finished run below {', '.join(map(str, folders))}")
    return runs


def rows(runs: Sequence[StudentRun]) -> list[Row]:
    """One row per configuration, seeds taken together, in the order of the mean test accuracy.

    Further columns are the keys in which runs with the same loss differ.
    """
    labels = [strategy_of(run.summary) for run in runs]
    if len({run.kd for run in runs}) > 1:
        labels = [f"{run.kd or '–'}: {label}" for run, label in zip(runs, labels, strict=True)]
    keys = sorted({key for run in runs for key in run.settings if key not in NOT_A_SETTING})

    def value(run: StudentRun, key: str) -> Any:
        unused = key.startswith("teacher.") and not run.summary.kd.terms
        return "–" if unused else run.settings.get(key)

    def differs(key: str) -> bool:
        values = {(label, json.dumps(value(run, key))) for run, label in zip(runs, labels, strict=True)}
        return len(values) > len(set(labels))

    varied = [key for key in keys if not key.startswith(("kd.terms", "logger", "callbacks")) and differs(key)]
    groups: dict[str, Row] = {}
    for run, label in zip(runs, labels, strict=True):
        settings = {"loss": label, **{key: value(run, key) for key in varied}}
        group = json.dumps([settings, run.summary.config["kd"]["terms"]], default=str)
        groups.setdefault(group, Row(settings, [])).runs.append(run)
    score = runs[0].summary.task.chooses
    sign = 1 if score.direction == "max" else -1  # the best one last
    return sorted(groups.values(), key=lambda row: sign * mean(run.student.test[score.name] for run in row.runs))


def _beside(task: TaskInfo) -> list[Metric]:
    """What a student is compared with its teacher by, where that does not choose."""
    return [metric for metric in task.metrics if metric.needs_teacher and metric.name != task.score]


def show(options: Options) -> None:
    """Prints the table."""
    if not options.folders:
        raise UserError("give the folders of runs or sweeps")
    runs = load(list(map(Path, options.folders)))
    metrics = {run.summary.task.chooses for run in runs}
    if len(metrics) > 1:
        raise UserError(f"runs of several scores do not fit one table: {', '.join(sorted(m.label for m in metrics))}")
    (metric,), table = metrics, rows(runs)
    score = f"test {metric.label}{' %' if metric.unit == 'share' else ''}, {kept_epochs(run.summary for run in runs)}"
    beside = [
        "agreement %" if m == AGREEMENT else f"{m.label}{' %' if m.unit == 'share' else ''}"
        for m in _beside(runs[0].summary.task)
    ]
    print(markdown_table([[*table[0].settings, score, *beside, "seeds"], *(row.cells() for row in table)]))


main = partial(launch, Options, show, ABOUT, rest="folders")
