"""The jobs of a sweep as its folder shows them, while it runs and afterwards. Nothing heavy is imported here."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, TypeVar, cast

from distill.config.command_line import RECORD, RESUME_SWEEP, SWEEP, continuing, read_record
from distill.training.summary import FILE, RunSummary, read as read_summary
from distill.utils import checked
from distill.utils.errors import UserError
from distill.utils.invocation import invocation
from distill.utils.run_lock import STATUS, Status, is_alive

T = TypeVar("T")
SUMMARY, FAILURE = FILE, "failure.json"
TRIAL, PRUNED = "trial.json", "pruned.json"  # of a search, see ``distill.sweeps.optuna.trial``


class State(StrEnum):
    """The state of a job."""

    finished = "finished"
    failed = "failed"
    pruned = "pruned"  # ended early by a search
    running = "running"
    stopped = "stopped"  # begun, neither ended nor running: killed, or interrupted


class Failure(TypedDict, total=False):
    """The contents of ``failure.json``."""

    reason: str
    kind: str  # the error's type
    overrides: list[str]
    host: str
    time: float
    traceback: str | None


@dataclass(frozen=True)
class SweepJob:
    """One job, as its folder shows it."""

    folder: Path
    state: State
    overrides: dict[str, str]  # by key: {"kd.T": "4", "seed": "0"}
    summary: RunSummary | None = None  # None before the end
    failure: Failure | None = None  # of a failed job
    status: Status | None = None  # of a job that has begun to train and has not ended, or that was pruned


def _cached(parse: Callable[[Path], T]) -> Callable[[Path], T | None]:
    """A reader of files that parses the same version of a file once; None where there is no file."""
    cached = lru_cache(maxsize=4096)(lambda path, _version: parse(path))

    def read(path: Path) -> T | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        return cached(path, (stat.st_mtime_ns, stat.st_size))

    return read


def _parse(path: Path) -> dict[str, Any] | None:
    try:
        return read_record(path) if path.name in (RECORD, SWEEP) else checked.parse(path)
    except (OSError, ValueError):
        return None


def _parse_summary(path: Path) -> RunSummary | Failure:
    try:
        return read_summary(path.parent)
    except UserError as error:  # resuming the sweep writes it again
        return {"reason": str(error), "kind": "damaged"}


load = _cached(_parse)  # a JSON or YAML file; None where there is none, or it cannot be read (a command's: a UserError)
_load_summary = _cached(_parse_summary)


def overrides_by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by key.

    Example:
        >>> overrides_by_key(["kd.T=4", "+data.x=1", "~logger"])
        {'kd.T': '4', 'data.x': '1'}
    """
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, equals, value in pairs if equals}


def run_folders(sweep: Path, depth: int = 8) -> Iterator[Path]:
    """Every run's folder at most ``depth`` below a sweep's, in the order of their names (numbers as numbers).

    Links to folders are not followed.
    """
    entries = {entry.name: entry for entry in os.scandir(sweep)} if sweep.is_dir() else {}
    if RECORD in entries or FAILURE in entries:
        yield sweep
        return
    inner = [n for n, each in entries.items() if each.is_dir(follow_symlinks=False) and not n.startswith(".")]
    for name in sorted(inner, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)):
        yield from run_folders(sweep / name, depth - 1) if depth else ()


def _failure(path: Path) -> Failure | None:
    """What is known of a failure; a damaged record still says that there was one."""
    if (failure := cast(Failure | None, load(path))) is None and path.exists():
        return {"reason": f"{path} is damaged: why the job failed is not known", "kind": "damaged"}
    return failure


def read(folder: Path) -> SweepJob:
    """One job, from the files in its folder."""
    failure, status = _failure(folder / FAILURE), None
    command = load(folder / RECORD) or {}
    overrides_of_failure = failure.get("overrides") if failure else None
    overrides = overrides_by_key(overrides_of_failure or command.get("overrides") or [])
    summary = _load_summary(folder / SUMMARY)
    if isinstance(summary, dict):
        failure, summary = failure or summary, None
    if failure is not None:
        state = State.failed
    elif summary is not None:
        state = State.finished
    elif (folder / PRUNED).is_file():
        state, status = State.pruned, cast(Status | None, load(folder / PRUNED))
    else:
        status = cast(Status | None, load(folder / STATUS))
        state = State.running if status is not None and is_alive(status) else State.stopped
    return SweepJob(folder, state, overrides, summary, failure, status)


def jobs(sweep: Path) -> list[SweepJob]:
    """All jobs that have begun, in the order of their folders' names."""
    return [read(folder) for folder in run_folders(sweep)]


def swept_keys(sweep_jobs: list[SweepJob]) -> list[str]:
    """The keys in which the jobs differ, in the order of the command."""
    keys = list(dict.fromkeys(key for job in sweep_jobs for key in job.overrides))
    return [key for key in keys if len({job.overrides.get(key) for job in sweep_jobs}) > 1]


def seconds_left(durations: Sequence[float], jobs_left: int, at_once: int) -> float:
    """How long the jobs that are left take, from the seconds that others took."""
    return sum(durations) / len(durations) * math.ceil(jobs_left / at_once)


def again(sweep: Path) -> str:
    """The command that continues a sweep of this process."""
    command = load(sweep / SWEEP) or {}
    overrides, folder = command.get("overrides") or [], command.get("config_dir")
    return invocation("train", "-m", *continuing(RESUME_SWEEP, sweep, overrides, folder))
