"""What a sweep and its jobs leave in their folders, for whoever looks at them: see ``distill.sweeps.jobs``."""

import math
import os
import socket
import time
import traceback
from pathlib import Path
from typing import Any

import yaml

from distill.config.command_line import SWEEP
from distill.sweeps.jobs import FAILURE, PRUNED, STATUS, SUMMARY, State, SweepJob, born, jobs, load, swept
from distill.utils.atomic import write_json, write_text
from distill.utils.errors import UserError, first_line
from distill.utils.invocation import invocation


def begin(sweep: Path, command: dict[str, Any], launcher: str, total: int | None) -> None:
    """``sweep.yaml``: what it takes to give the command again, by which launcher, and how many jobs it has.

    Args:
        sweep: its folder.
        command: see ``distill.config.command_line.record``.
        launcher: the choice of ``hydra/launcher``.
        total: None where nobody knows.
    """
    before = load(sweep / SWEEP) or {}
    entry = {**command, "launcher": launcher, "jobs": total, "begun": before.get("begun", time.time())}
    write_text(sweep / SWEEP, yaml.safe_dump(entry, sort_keys=False), several_writers=True)


def beat(folder: Path, **facts: Any) -> None:
    """``status.json`` of a run: its process, since when, and where it is (``training``, ``epoch``, ...)."""
    before = load(folder / STATUS) or {}
    now = {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid()), "updated": time.time()}
    now["begun"] = before["begun"] if before.get("pid") == now["pid"] else now["updated"]
    write_json(folder / STATUS, now | facts, several_writers=True)


def clear(folder: Path) -> None:
    """Forgets how an earlier attempt at a job ended."""
    for name in (FAILURE, STATUS):
        (folder / name).unlink(missing_ok=True)


def fail(folder: Path, overrides: list[str], error: BaseException | str) -> str:
    """``failure.json`` of a job.

    Args:
        folder: the run's.
        overrides: the job's.
        error: what it raised (of other than a user's mistake the traceback is kept too), or the reason in words, for
            a job whose process is gone.

    Returns:
        The reason, one line.
    """
    reason, kind, trace = " ".join(str(error).split()), "died", None
    if isinstance(error, BaseException):
        kind = type(error).__name__
        if not isinstance(error, UserError):
            reason = f"{kind}: {first_line(error)}"
            trace = "".join(traceback.format_exception(error))
    where = {"overrides": overrides, "host": socket.gethostname(), "time": time.time()}
    entry = {"reason": reason, "kind": kind, **where, "traceback": trace}
    write_json(folder / FAILURE, entry, indent=2, several_writers=True)
    (folder / STATUS).unlink(missing_ok=True)
    return reason


def prune(folder: Path, epoch: int, accuracy: float) -> None:
    """``pruned.json`` of a trial that a search has ended after an epoch, counted from 1."""
    write_json(folder / PRUNED, {"epoch": epoch, "val_acc": accuracy, "time": time.time()}, several_writers=True)


def val_acc(job: SweepJob) -> float:
    """Validation accuracy of a finished job's student after its last epoch, or of the teacher where it is alone."""
    return job.summary.subject.val.get("acc", math.nan) if job.summary else math.nan


def progress(sweep: Path) -> str:
    """A sweep in one line, said when a job has ended: done, running, failed, the best so far, about how long it takes.

    The place of the job that has ended goes to the next one, so that one more runs than is seen.
    """
    found = jobs(sweep)
    states = [job.state for job in found]
    done, running, failed, pruned = map(states.count, (State.finished, State.running, State.failed, State.pruned))
    total = (load(sweep / SWEEP) or {}).get("jobs")
    parts = [f"{done} of {total} done" if total else f"{done} done"]
    parts += [f"{n} {what}" for n, what in ((running, "running"), (failed, "failed"), (pruned, "pruned")) if n]
    finished = [job for job in found if job.state == State.finished and not math.isnan(val_acc(job))]
    if finished:
        best = max(finished, key=val_acc)
        where = " ".join(f"{key}={best.overrides[key]}" for key in swept(found) if key in best.overrides)
        parts.append(f"best {100 * val_acc(best):.2f} % on validation{f' ({where})' if where else ''}")
    seconds = [job.summary.wall_s for job in finished if job.summary]
    left = max(total - done - failed - pruned, 0) if total else 0
    if left and seconds:
        parts.append(f"about {_duration(sum(seconds) / len(seconds) * math.ceil(left / (running + 1)))} left")
    return f"sweep: {', '.join(parts)}"


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> _duration(12.3), _duration(150), _duration(8000)
        ('13 s', '3 min', '2 h 14 min')
    """
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def verdict(sweep: Path) -> str | None:
    """What is wrong with a sweep that has ended, in one line; None: every job finished."""
    found = jobs(sweep)
    total = (load(sweep / SWEEP) or {}).get("jobs")
    failed = sum(job.state == State.failed for job in found)
    finished = sum((job.folder / SUMMARY).is_file() and job.state == State.finished for job in found)
    others = sum(job.state in (State.pruned, State.running) for job in found)  # running: another command's
    missing = max((total or len(found)) - finished - failed - others, 0)
    if not failed and not missing:
        return None
    parts = [f"{n} {what}" for n, what in ((failed, "failed"), (missing, "did not finish")) if n]
    return (
        f"{' and '.join(parts)} of {total or len(found)} jobs; run these again with: "
        f"{invocation('train')} -m sweep.resume={sweep}"
    )
