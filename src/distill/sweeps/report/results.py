"""A sweep's jobs grouped by setting: seeds of one setting are its repetitions. Nothing heavy is imported."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from distill.config.command_line import RECORD, SWEEP
from distill.sweeps.jobs import SUMMARY, State, SweepJob, jobs, load, read as read_job, swept_keys
from distill.sweeps.report.mean_std import MeanStd, display
from distill.tasks.info import CLASSIFICATION, Metric
from distill.training.summary import RunSummary
from distill.utils.errors import UserError

SEED = "seed"
Values = tuple[str | None, ...]  # of the swept keys, in their order; None where the job's command did not give one


@dataclass(frozen=True)
class JobResult:
    """One job and its scores: those of the student's kept epoch, or of the teacher where it is alone."""

    job: SweepJob
    name: str  # of its folder, below the sweep's
    values: Values
    val: float  # NaN before the end
    test: float
    loss: float  # L_hard on validation
    metric: Metric = CLASSIFICATION.chooses

    @property
    def seed(self) -> str:
        return display(self.job.overrides.get(SEED, str(self.job.summary.seed) if self.job.summary else ""))

    @property
    def summary(self) -> RunSummary | None:
        return self.job.summary

    @property
    def finished(self) -> bool:
        """Whether it has a score on validation."""
        return self.job.state == State.finished and not math.isnan(self.val)


@dataclass(frozen=True)
class Setting:
    """The jobs that differ in their seed only, finished or not."""

    values: Values
    jobs: list[JobResult] = field(compare=False)

    @cached_property
    def finished(self) -> list[JobResult]:
        return [job for job in self.jobs if job.finished]

    @property
    def metric(self) -> Metric:
        """The score of the task."""
        return self.jobs[0].metric

    @cached_property
    def val(self) -> MeanStd:
        """On validation: what a setting is chosen by."""
        return MeanStd.of((job.val for job in self.finished), self.metric)

    @cached_property
    def test(self) -> MeanStd:
        """On the test split: what is shown."""
        return MeanStd.of((job.test for job in self.finished), self.metric)

    @cached_property
    def sort_key(self) -> tuple[float, float]:
        """By the score on validation, best first; ties by L_hard there."""
        if not self.val:
            return math.inf, math.inf
        loss = MeanStd.of(job.loss for job in self.finished).mean
        sign = -1 if self.finished[0].metric.direction == "max" else 1
        return sign * self.val.mean, loss if math.isfinite(loss) else math.inf


@dataclass(frozen=True)
class SweepResults:
    """The results of a sweep."""

    folder: Path
    record: dict[str, Any]  # the content of sweep.yaml; empty where there is none
    keys: list[str]  # the swept keys without the seed
    settings: list[Setting]  # the best on validation first; those without a finished job last

    @cached_property
    def jobs(self) -> list[JobResult]:
        """All jobs that have begun."""
        return [job for setting in self.settings for job in setting.jobs]

    @cached_property
    def finished(self) -> list[JobResult]:
        return [job for job in self.jobs if job.finished]

    @cached_property
    def summaries(self) -> list[RunSummary]:
        """Of the finished jobs."""
        return [job.summary for job in self.finished if job.summary]

    @property
    def metric(self) -> Metric:
        """The score of the task, by which settings are chosen."""
        return next((job.metric for job in self.finished), CLASSIFICATION.chooses)

    @cached_property
    def best(self) -> Setting | None:
        """The best on validation among those with at least half as many finished seeds as the fullest one."""
        most = max((setting.val.n for setting in self.settings), default=0)
        return next((setting for setting in self.settings if setting.val and 2 * setting.val.n >= most), None)

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        return sum(job.job.state == state for job in self.jobs)

    @property
    def total(self) -> int:
        """How many jobs the sweep has; how many have begun where that is unknown."""
        return max(int(self.record.get("jobs") or 0), len(self.jobs))

    def describe(self, values: Values) -> str:
        """A setting in a line: ``kd.T=4 kd.alpha=0.1``."""
        pairs = zip(self.keys, values, strict=True)
        return " ".join(f"{key}={display(value)}" for key, value in pairs if value is not None) or "the run"

    def query(self, values: Values) -> str:
        """What chooses a setting in the page's table: every key with its value, as the table shows it."""
        return " ".join(query(key, value) for key, value in zip(self.keys, values, strict=True))


def query(key: str, value: Any) -> str:
    """What chooses the settings with a value; blanks stand between keys alone, those of values are no-break spaces."""
    return f"{key}={display(value)}".replace(" ", "\N{NO-BREAK SPACE}")


def _scores(job: SweepJob) -> tuple[float, float, float]:
    """The score on validation and test, L_hard on validation; NaN where a summary does not have it."""
    if job.summary is None:
        return math.nan, math.nan, math.nan
    score, subject = job.summary.task.score, job.summary.subject
    return subject.val.get(score, math.nan), subject.test.get(score, math.nan), subject.val.get("hard", math.nan)


def _metric(job: SweepJob) -> Metric:
    return job.summary.task.chooses if job.summary else CLASSIFICATION.chooses


def _keys_of_command(record: dict[str, Any]) -> list[str]:
    """The keys that the sweep's command sweeps, also where only one of their values has begun."""
    overrides = [o for o in record.get("overrides") or [] if not str(o).startswith("hydra")]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException:
        return []
    return [override.get_key_element().lstrip("+~") for override in parsed if override.is_sweep_override()]


def read(folder: Path) -> SweepResults:
    """The results in a sweep's folder, or in a run's.

    Raises:
        UserError: no such folder, one without jobs that is no sweep's, or one that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} {'is a file, and a sweep is a folder' if folder.exists() else 'does not exist'}")
    record = load(folder / SWEEP)
    try:
        sweep_jobs = jobs(folder) or ([read_job(folder)] if (folder / SUMMARY).is_file() else [])
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from error
    if record is None and not sweep_jobs:
        raise UserError(f"{folder} is no sweep's folder: it has neither {SWEEP} nor a run's {RECORD}")
    keys = [key for key in dict.fromkeys([*_keys_of_command(record or {}), *swept_keys(sweep_jobs)]) if key != SEED]
    by_values: dict[Values, list[JobResult]] = {}
    for job in sweep_jobs:
        values = tuple(job.overrides.get(key) for key in keys)
        name = str(job.folder.relative_to(folder)) if job.folder != folder else folder.name
        by_values.setdefault(values, []).append(JobResult(job, name, values, *_scores(job), _metric(job)))
    settings = sorted((Setting(*pair) for pair in by_values.items()), key=lambda setting: setting.sort_key)
    return SweepResults(folder, record or {}, keys, settings)
