"""The jobs of a sweep as its folder shows them, while it runs and afterwards. Nothing heavy is imported here."""

import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from distill.config.command_line import RECORD
from distill.training.summary import FILE, RunSummary, read as read_summary
from distill.utils.errors import UserError

SUMMARY, FAILURE, STATUS = FILE, "failure.json", "status.json"
TRIAL, PRUNED = "trial.json", "pruned.json"  # of a search, see ``distill.sweeps.optuna.trial``
SILENCE_S = 600.0  # a job on another machine that has said nothing for so long is taken for stopped


class State(StrEnum):
    """Where a job is."""

    finished = "finished"
    failed = "failed"
    pruned = "pruned"  # ended early by a search, without hope
    running = "running"
    stopped = "stopped"  # begun, neither ended nor running: killed, or interrupted


@dataclass(frozen=True)
class SweepJob:
    """One job.

    Attributes:
        folder: the run's.
        state: where it is.
        overrides: its settings by key, as its command gave them (``{"kd.T": "4", "seed": "0"}``).
        summary: what ``summary.json`` holds; None before the end.
        failure: ``{"reason", "kind", "overrides", "host", "time"}`` of a failed job.
        status: ``{"host", "pid", "born", "begun", "updated", "training", "epoch", "max_epochs", "val_acc"}`` of a job
            that has begun to train and has not ended; of a pruned one its last ``{"epoch", "val_acc"}``.
    """

    folder: Path
    state: State
    overrides: dict[str, str]
    summary: RunSummary | None = None
    failure: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


@lru_cache(maxsize=4096)
def _parsed(path: Path, _version: tuple[int, int]) -> dict[str, Any] | None:
    """A file's content; the same version of a file is parsed once."""
    try:
        text = path.read_bytes()
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has that
        found = json.loads(text) if path.suffix == ".json" else yaml.load(text, loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def load(path: Path) -> dict[str, Any] | None:
    """A JSON or YAML file of ours; None where there is none that can be read (it may be gone since it was listed)."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return _parsed(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4096)
def _summary(folder: Path, _version: tuple[int, int]) -> RunSummary | None:
    """A job's summary; the same version of a file is parsed once."""
    try:
        return read_summary(folder)
    except UserError:
        return None


def summary(folder: Path) -> RunSummary | None:
    """What ``summary.json`` of a job holds; None where there is none that can be read."""
    try:
        stat = (folder / SUMMARY).stat()
    except OSError:
        return None
    return _summary(folder, (stat.st_mtime_ns, stat.st_size))


def settings(overrides: list[str]) -> dict[str, str]:
    """Overrides by key.

    Example:
        >>> settings(["kd.T=4", "+data.x=1", "~logger"])
        {'kd.T': '4', 'data.x': '1'}
    """
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, equals, value in pairs if equals}


def born(pid: int) -> str | None:
    """When a process of this machine was started, as Linux says it; None: no such process, or no Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def alive(status: dict[str, Any]) -> bool:
    """Whether the job that wrote a status still runs: its process, or on another machine a sign of life."""
    if status.get("host") != socket.gethostname():
        return bool(time.time() - status.get("updated", 0) < SILENCE_S)
    try:
        os.kill(int(status["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return status.get("born") is None or born(int(status["pid"])) == status["born"]  # its number may be another's now


def folders(sweep: Path) -> Iterator[Path]:
    """Every run's folder below a sweep's, in the order of their names (numbers as numbers)."""
    names = {entry.name: entry for entry in os.scandir(sweep)} if sweep.is_dir() else {}
    if RECORD in names or FAILURE in names:
        yield sweep
        return
    found = [name for name, entry in names.items() if entry.is_dir() and not name.startswith(".")]
    for name in sorted(found, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)):
        yield from folders(sweep / name)


def read(folder: Path) -> SweepJob:
    """One job."""
    failure = load(folder / FAILURE)
    command = load(folder / RECORD) or {}
    overrides = settings((failure or {}).get("overrides") or command.get("overrides") or [])
    result = summary(folder)
    if failure is not None:
        return SweepJob(folder, State.failed, overrides, result, failure)
    if result is not None:
        return SweepJob(folder, State.finished, overrides, result)
    status = load(folder / STATUS)
    if (folder / PRUNED).is_file():
        return SweepJob(folder, State.pruned, overrides, status=load(folder / PRUNED))
    running = status is not None and alive(status)
    return SweepJob(folder, State.running if running else State.stopped, overrides, status=status)


def jobs(sweep: Path) -> list[SweepJob]:
    """All jobs that have begun, one after the other as their folders are named."""
    return [read(folder) for folder in folders(sweep)]


def swept(found: list[SweepJob]) -> list[str]:
    """The keys in which the jobs differ, in the order of the command."""
    keys = list(dict.fromkeys(key for job in found for key in job.overrides))
    return [key for key in keys if len({job.overrides.get(key) for job in found}) > 1]
