"""The jobs of a sweep as its folder shows them, while it runs and afterwards. Nothing heavy is imported here."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from distill.config.command_line import RECORD
from distill.training.summary import FILE, RunSummary, read as read_summary
from distill.utils.errors import UserError

T = TypeVar("T")
SUMMARY, FAILURE, STATUS = FILE, "failure.json", "status.json"
TRIAL, PRUNED = "trial.json", "pruned.json"  # of a search, see ``distill.sweeps.optuna.trial``
HEARTBEAT_TIMEOUT_S = 600.0  # a job on another machine without a heartbeat for so long counts as stopped


class State(StrEnum):
    """The state of a job."""

    finished = "finished"
    failed = "failed"
    pruned = "pruned"  # ended early by a search
    running = "running"
    stopped = "stopped"  # begun, neither ended nor running: killed, or interrupted


@dataclass(frozen=True)
class SweepJob:
    """One job, as its folder shows it."""

    folder: Path
    state: State
    overrides: dict[str, str]  # by key: {"kd.T": "4", "seed": "0"}
    summary: RunSummary | None = None  # None before the end
    failure: dict[str, Any] | None = None  # of a failed job: "reason", "kind", "overrides", "host", "time"
    # of a job that has begun to train and has not ended: "host", "pid", "born", "begun", "updated", "training",
    # "epoch", "max_epochs", "val_acc"; of a pruned one its last "epoch" and "val_acc"
    status: dict[str, Any] | None = None


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
        text = path.read_bytes()
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where PyYAML has that
        content = json.loads(text) if path.suffix == ".json" else yaml.load(text, loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None


def _parse_summary(path: Path) -> RunSummary | None:
    try:
        return read_summary(path.parent)
    except UserError:
        return None


load = _cached(_parse)  # a JSON or YAML file; None where there is none, or it cannot be read
_load_summary = _cached(_parse_summary)


def overrides_by_key(overrides: list[str]) -> dict[str, str]:
    """Overrides by key.

    Example:
        >>> overrides_by_key(["kd.T=4", "+data.x=1", "~logger"])
        {'kd.T': '4', 'data.x': '1'}
    """
    pairs = (override.partition("=") for override in overrides)
    return {key.lstrip("+~"): value for key, equals, value in pairs if equals}


def start_time(pid: int) -> str | None:
    """When a process of this machine was started, in clock ticks of Linux; None: no such process, or no Linux."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def is_alive(status: dict[str, Any]) -> bool:
    """Whether the job that wrote a status still runs: by its process, on another machine by its heartbeat."""
    if status.get("host") != socket.gethostname():
        return bool(time.time() - status.get("updated", 0) < HEARTBEAT_TIMEOUT_S)
    try:
        os.kill(int(status["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, KeyError, ValueError):
        return False
    return status.get("born") is None or start_time(int(status["pid"])) == status["born"]  # pids are reused


def run_folders(sweep: Path) -> Iterator[Path]:
    """Every run's folder below a sweep's, in the order of their names (numbers as numbers)."""
    entries = {entry.name: entry for entry in os.scandir(sweep)} if sweep.is_dir() else {}
    if RECORD in entries or FAILURE in entries:
        yield sweep
        return
    names = [name for name, entry in entries.items() if entry.is_dir() and not name.startswith(".")]
    for name in sorted(names, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name)):
        yield from run_folders(sweep / name)


def read(folder: Path) -> SweepJob:
    """One job, from the files in its folder."""
    failure, status = load(folder / FAILURE), None
    command = load(folder / RECORD) or {}
    overrides = overrides_by_key((failure or {}).get("overrides") or command.get("overrides") or [])
    summary = _load_summary(folder / SUMMARY)
    if failure is not None:
        state = State.failed
    elif summary is not None:
        state = State.finished
    elif (folder / PRUNED).is_file():
        state, status = State.pruned, load(folder / PRUNED)
    else:
        status = load(folder / STATUS)
        state = State.running if status is not None and is_alive(status) else State.stopped
    return SweepJob(folder, state, overrides, summary, failure, status)


def jobs(sweep: Path) -> list[SweepJob]:
    """All jobs that have begun, in the order of their folders' names."""
    return [read(folder) for folder in run_folders(sweep)]


def swept_keys(sweep_jobs: list[SweepJob]) -> list[str]:
    """The keys in which the jobs differ, in the order of the command."""
    keys = list(dict.fromkeys(key for job in sweep_jobs for key in job.overrides))
    return [key for key in keys if len({job.overrides.get(key) for job in sweep_jobs}) > 1]
