"""A sweep's jobs taken together by setting: seeds of one setting are its repetitions. Nothing heavy is imported."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from distill.config.command_line import RECORD, SWEEP
from distill.sweeps.jobs import SUMMARY, State, SweepJob, jobs, load, swept_keys
from distill.sweeps.jobs import read as job
from distill.sweeps.report.spread import Spread, shown
from distill.training.summary import RunSummary
from distill.utils.errors import UserError

SEED = "seed"


@dataclass(frozen=True)
class Outcome:
    """One job and its scores.

    Attributes:
        job: as its folder shows it.
        name: of its folder, below the sweep's.
        values: of the swept keys, in their order; None where the job's command did not give one.
        val: top-1 on validation after the last epoch, of the student, or of the teacher where it is alone; NaN before
            the end.
        test: likewise on the test split.
        loss: cross-entropy on validation, nats.
    """

    job: SweepJob
    name: str
    values: tuple[str | None, ...]
    val: float
    test: float
    loss: float

    @property
    def seed(self) -> str:
        """As the command gave it, or as the run had it."""
        return shown(self.job.overrides.get(SEED, str(self.job.summary.seed) if self.job.summary else ""))

    @property
    def summary(self) -> RunSummary | None:
        """What the run gave; None before its end."""
        return self.job.summary

    @property
    def finished(self) -> bool:
        """Whether it has a score on validation."""
        return self.job.state == State.finished and not math.isnan(self.val)


@dataclass(frozen=True)
class Setting:
    """The jobs that differ in their seed only.

    Attributes:
        values: of the swept keys, in their order.
        outcomes: all of them, finished or not.
    """

    values: tuple[str | None, ...]
    outcomes: list[Outcome] = field(compare=False)

    @cached_property
    def finished(self) -> list[Outcome]:
        """Those with a score."""
        return [outcome for outcome in self.outcomes if outcome.finished]

    @cached_property
    def val(self) -> Spread:
        """On validation: what a setting is chosen by."""
        return Spread.of(outcome.val for outcome in self.finished)

    @cached_property
    def test(self) -> Spread:
        """On the test split: what is shown."""
        return Spread.of(outcome.test for outcome in self.finished)

    @cached_property
    def rank(self) -> tuple[float, float]:
        """The smaller the better: by accuracy on validation, equal ones by cross-entropy there."""
        loss = Spread.of(outcome.loss for outcome in self.finished).mean
        return (-self.val.mean, loss if math.isfinite(loss) else math.inf) if self.val else (math.inf, math.inf)


@dataclass(frozen=True)
class Findings:
    """A sweep.

    Attributes:
        folder: its own.
        record: what ``sweep.yaml`` holds; empty where there is none.
        keys: what was swept, without the seed.
        settings: the best on validation first; those without a finished job last.
    """

    folder: Path
    record: dict[str, Any]
    keys: list[str]
    settings: list[Setting]

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """Of all jobs that have begun."""
        return [outcome for setting in self.settings for outcome in setting.outcomes]

    @cached_property
    def summaries(self) -> list[RunSummary]:
        """Of the finished jobs."""
        return [outcome.summary for outcome in self.outcomes if outcome.finished and outcome.summary]

    @cached_property
    def best(self) -> Setting | None:
        """The best on validation among those with at least half as many finished seeds as the fullest one."""
        most = max((setting.val.n for setting in self.settings), default=0)
        return next((setting for setting in self.settings if setting.val and 2 * setting.val.n >= most), None)

    def count(self, state: State) -> int:
        """How many jobs are in a state."""
        return sum(outcome.job.state == state for outcome in self.outcomes)

    @property
    def total(self) -> int:
        """How many jobs the sweep has, or has begun where nobody knows."""
        return max(int(self.record.get("jobs") or 0), len(self.outcomes))

    def said(self, setting: Setting) -> str:
        """A setting in a line: ``kd.T=4 kd.alpha=0.1``."""
        pairs = zip(self.keys, setting.values, strict=True)
        return " ".join(f"{key}={shown(value)}" for key, value in pairs if value is not None) or "the run"


def _scores(job: SweepJob) -> tuple[float, float, float]:
    """Top-1 on validation and test, cross-entropy on validation; NaN where a summary does not have it."""
    if job.summary is None:
        return math.nan, math.nan, math.nan
    val, test = job.summary.subject.val, job.summary.subject.test
    return val.get("acc", math.nan), test.get("acc", math.nan), val.get("hard", math.nan)


def _named(record: dict[str, Any]) -> list[str]:
    """The keys that the sweep's command sweeps, also where only one of their values has begun."""
    own = [o for o in record.get("overrides") or [] if not str(o).startswith("hydra")]
    try:
        parsed = OverridesParser.create().parse_overrides(own)
    except HydraException:
        return []
    return [override.get_key_element().lstrip("+~") for override in parsed if override.is_sweep_override()]


def read(folder: Path) -> Findings:
    """What lies below a sweep's folder.

    Raises:
        UserError: no such folder, one without jobs that is no sweep's, or one that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} {'is a file, and a sweep is a folder' if folder.exists() else 'does not exist'}")
    record = load(folder / SWEEP)
    try:
        found = jobs(folder) or ([job(folder)] if (folder / SUMMARY).is_file() else [])
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror or error}") from error
    if record is None and not found:
        raise UserError(f"{folder} is no sweep's folder: it has neither {SWEEP} nor a run's {RECORD}")
    named = _named(record or {})
    keys = [key for key in dict.fromkeys([*named, *swept_keys(found)]) if key != SEED]
    by_values: dict[tuple[str | None, ...], list[Outcome]] = {}
    for each in found:
        values = tuple(each.overrides.get(key) for key in keys)
        name = str(each.folder.relative_to(folder)) if each.folder != folder else folder.name
        by_values.setdefault(values, []).append(Outcome(each, name, values, *_scores(each)))
    settings = sorted((Setting(*pair) for pair in by_values.items()), key=lambda setting: setting.rank)
    return Findings(folder, record or {}, keys, settings)
