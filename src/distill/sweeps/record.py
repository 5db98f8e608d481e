"""Writes the files that a sweep and its jobs leave in their folders; ``distill.sweeps.jobs`` reads them."""

import math
import os
import socket
import time
import traceback
from pathlib import Path
from typing import Any

import yaml

from distill.config.command_line import SWEEP
from distill.sweeps.jobs import FAILURE, PRUNED, SUMMARY, State, SweepJob, again, jobs, load, read, seconds_left
from distill.sweeps.report.results import read as read_results
from distill.utils import checked
from distill.utils.errors import UserError, first_line, shortened
from distill.utils.run_lock import STATUS, start_time
from distill.utils.units import duration


def begin(sweep: Path, command: dict[str, Any], launcher: str, total: int | None) -> None:
    """Writes ``sweep.yaml``: the command, its launcher, and the number of jobs (None where it is unknown)."""
    begun = (load(sweep / SWEEP) or {}).get("begun", time.time())
    entry = {**command, "launcher": launcher, "jobs": total, "begun": begun}
    checked.write_yaml(sweep / SWEEP, yaml.safe_dump(entry, sort_keys=False), several_writers=True)


def write_status(folder: Path, **progress: Any) -> None:
    """Writes ``status.json`` of a run: its process and its progress (``training``, ``epoch``, ...)."""
    previous = load(folder / STATUS) or {}
    status = {"host": socket.gethostname(), "pid": os.getpid(), "born": start_time(os.getpid()), "updated": time.time()}
    status["begun"] = previous["begun"] if previous.get("pid") == status["pid"] else status["updated"]
    checked.write_json(folder / STATUS, status | progress, several_writers=True)


def clear(folder: Path) -> None:
    """Removes the failure and the status of an earlier attempt at a job."""
    for name in (FAILURE, STATUS):
        (folder / name).unlink(missing_ok=True)


def fail(folder: Path, overrides: list[str], error: BaseException | str) -> str:
    """Writes ``failure.json`` of a job.

    Args:
        folder: the run's.
        overrides: the job's.
        error: the exception (its traceback is kept, except of a ``UserError``), or the reason in words, for a job
            whose process is gone.

    Returns:
        The reason, one line.
    """
    reason, error_type, trace = shortened(" ".join(str(error).split())), "died", None
    if isinstance(error, BaseException):
        error_type = type(error).__name__
        if not isinstance(error, UserError):
            reason = shortened(f"{error_type}: {first_line(error)}")
            trace = "".join(traceback.format_exception(error))
    failure = {"reason": reason, "kind": error_type, "overrides": overrides, "host": socket.gethostname(),
               "time": time.time(), "traceback": trace}  # fmt: skip
    checked.write_json(folder / FAILURE, failure, several_writers=True)
    (folder / STATUS).unlink(missing_ok=True)
    return reason


def prune(folder: Path, epoch: int, score: float) -> None:
    """Writes ``pruned.json`` of a trial that was pruned after an epoch, counted from 1."""
    entry = {"epoch": epoch, "val_score": score, "time": time.time()}
    checked.write_json(folder / PRUNED, entry, several_writers=True)


def val_score(job: SweepJob) -> float:
    """The task's score on validation of a finished job's student, or of the teacher where it is alone."""
    return job.summary.val_score if job.summary else math.nan


def progress(sweep: Path, folder: Path) -> str:
    """The line that is printed when a job has ended: its result, jobs by state, the best so far, the time left.

    The slot of the job that has ended goes to the next one, so one more job runs than is counted here.

    Args:
        sweep: the sweep's folder.
        folder: the job's.
    """
    sweep_jobs = jobs(sweep)
    states = [job.state for job in sweep_jobs]
    done, running, failed, pruned = map(states.count, (State.finished, State.running, State.failed, State.pruned))
    total = (load(sweep / SWEEP) or {}).get("jobs")
    parts = [f"{done} of {total} done" if total else f"{done} done"]
    parts += [f"{n} {label}" for n, label in ((running, "running"), (failed, "failed"), (pruned, "pruned")) if n]
    finished = [job for job in sweep_jobs if job.state == State.finished and not math.isnan(val_score(job))]
    results = read_results(sweep)
    if results.best is not None:
        setting = f" ({results.describe(results.best.values)})" if results.keys else ""
        parts.append(f"best {results.best.val}{setting}")
    seconds = [job.summary.wall_s for job in finished if job.summary]
    left = max(total - done - failed - pruned, 0) if total else 0
    if left and seconds:
        parts.append(f"about {duration(seconds_left(seconds, left, running + 1))} left")
    job = read(folder)
    fixed = (load(sweep / SWEEP) or {}).get("overrides") or []
    setting = " ".join(text for pair in job.overrides.items() if (text := "=".join(pair)) not in fixed)
    metric = results.metric
    result = metric.display(val_score(job)) if job.state == State.finished else job.state.value
    if job.state == State.pruned and job.status:
        result += f" after epoch {job.status['epoch']} at {metric.display(job.status['val_score'])}"
    return f"job {folder.name}{f' ({setting})' if setting else ''}: {result}; {', '.join(parts)}"


def verdict(sweep: Path) -> str | None:
    """The failed and missing jobs of a sweep that has ended, in one line; None: every job finished."""
    sweep_jobs = jobs(sweep)
    total = (load(sweep / SWEEP) or {}).get("jobs") or len(sweep_jobs)
    failed = sum(job.state == State.failed for job in sweep_jobs)
    finished = sum((job.folder / SUMMARY).is_file() and job.state == State.finished for job in sweep_jobs)
    others = sum(job.state in (State.pruned, State.running) for job in sweep_jobs)  # running: another command's
    missing = max(total - finished - failed - others, 0)
    if not failed and not missing:
        return None
    parts = [f"{n} {label}" for n, label in ((failed, "failed"), (missing, "did not finish")) if n]
    return f"{' and '.join(parts)} of {total} jobs; run these again with: {again(sweep)}"
