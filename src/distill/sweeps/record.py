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
from distill.sweeps.jobs import FAILURE, PRUNED, STATUS, SUMMARY, State, SweepJob, jobs, load, start_time, swept_keys
from distill.utils.atomic import write_json, write_text
from distill.utils.errors import UserError, first_line
from distill.utils.invocation import invocation


def begin(sweep: Path, command: dict[str, Any], launcher: str, total: int | None) -> None:
    """Writes ``sweep.yaml``: the command, its launcher, and the number of jobs (None where it is unknown)."""
    begun = (load(sweep / SWEEP) or {}).get("begun", time.time())
    entry = {**command, "launcher": launcher, "jobs": total, "begun": begun}
    write_text(sweep / SWEEP, yaml.safe_dump(entry, sort_keys=False), several_writers=True)


def write_status(folder: Path, **progress: Any) -> None:
    """Writes ``status.json`` of a run: its process and its progress (``training``, ``epoch``, ...)."""
    previous = load(folder / STATUS) or {}
    status = {"host": socket.gethostname(), "pid": os.getpid(), "born": start_time(os.getpid()), "updated": time.time()}
    status["begun"] = previous["begun"] if previous.get("pid") == status["pid"] else status["updated"]
    write_json(folder / STATUS, status | progress, several_writers=True)


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
    reason, error_type, trace = " ".join(str(error).split()), "died", None
    if isinstance(error, BaseException):
        error_type = type(error).__name__
        if not isinstance(error, UserError):
            reason = f"{error_type}: {first_line(error)}"
            trace = "".join(traceback.format_exception(error))
    failure = {"reason": reason, "kind": error_type, "overrides": overrides, "host": socket.gethostname(),
               "time": time.time(), "traceback": trace}  # fmt: skip
    write_json(folder / FAILURE, failure, indent=2, several_writers=True)
    (folder / STATUS).unlink(missing_ok=True)
    return reason


def prune(folder: Path, epoch: int, accuracy: float) -> None:
    """Writes ``pruned.json`` of a trial that was pruned after an epoch, counted from 1."""
    write_json(folder / PRUNED, {"epoch": epoch, "val_acc": accuracy, "time": time.time()}, several_writers=True)


def val_acc(job: SweepJob) -> float:
    """Validation accuracy of a finished job's student after its last epoch, or of the teacher where it is alone."""
    return job.summary.subject.val.get("acc", math.nan) if job.summary else math.nan


def progress(sweep: Path) -> str:
    """A sweep in one line, printed when a job has ended: jobs by state, the best so far, the time left.

    The slot of the job that has ended goes to the next one, so one more job runs than is counted here.
    """
    sweep_jobs = jobs(sweep)
    states = [job.state for job in sweep_jobs]
    done, running, failed, pruned = map(states.count, (State.finished, State.running, State.failed, State.pruned))
    total = (load(sweep / SWEEP) or {}).get("jobs")
    parts = [f"{done} of {total} done" if total else f"{done} done"]
    parts += [f"{n} {label}" for n, label in ((running, "running"), (failed, "failed"), (pruned, "pruned")) if n]
    finished = [job for job in sweep_jobs if job.state == State.finished and not math.isnan(val_acc(job))]
    if finished:
        best = max(finished, key=val_acc)
        setting = " ".join(f"{key}={best.overrides[key]}" for key in swept_keys(sweep_jobs) if key in best.overrides)
        parts.append(f"best {100 * val_acc(best):.2f} % on validation{f' ({setting})' if setting else ''}")
    seconds = [job.summary.wall_s for job in finished if job.summary]
    left = max(total - done - failed - pruned, 0) if total else 0
    if left and seconds:
        parts.append(f"about {_duration(sum(seconds) / len(seconds) * math.ceil(left / (running + 1)))} left")
    return f"sweep: {', '.join(parts)}"


def _duration(seconds: float) -> str:
    """A duration, rounded up.

    Example:
        >>> _duration(12.3), _duration(150), _duration(8000)
        ('13 s', '3 min', '2 h 14 min')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


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
    return f"{' and '.join(parts)} of {total} jobs; run these again with: {invocation('train')} -m sweep.resume={sweep}"
