"""A job of a sweep in Slurm's hands: what runs on the node, what its folder says of it, and what Slurm says."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from distill.sweeps import record
from distill.sweeps.jobs import State, load, read
from distill.sweeps.remote import RemoteJob
from distill.utils.atomic import write_json
from distill.utils.errors import Interrupted, UserError

SLURM = "slurm.json"  # of a job: {"id", "overrides", "idle"}
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
         "TIMEOUT", "REVOKED"}  # fmt: skip
IDLE_STOPS = 3  # time limits in a row that a job may meet outside of training
LAST_S = 60.0  # that a job which Slurm is ending waits for its end


class Place(NamedTuple):
    """Where a job is in Slurm's queue: its state, and why it waits or how it ended."""

    state: str
    reason: str

    @property
    def ended(self) -> bool:
        """Whether Slurm has done with it."""
        return self.state.partition(" ")[0] in ENDED


def write(folder: Path, identity: str, overrides: list[str], idle: int = 0) -> None:
    """``slurm.json``: the job in ``folder`` is Slurm's ``identity``.

    Args:
        folder: the run's.
        identity: "12", or "12_3" in an array.
        overrides: the job's own.
        idle: times in a row that it met its time limit outside of training.
    """
    write_json(folder / SLURM, {"id": identity, "overrides": overrides, "idle": idle}, several_writers=True)


def queue() -> dict[str, Place]:
    """This user's jobs by identity, those that ended a few minutes ago included.

    Raises:
        UserError: Slurm does not answer.
    """
    form = ["--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
    done = _slurm("squeue", *form, f"--user={os.getuid()}")
    if done.returncode:
        raise UserError(f"Slurm does not answer: {complaint(done.stderr)}")
    rows = [line.strip().split("|", 2) for line in done.stdout.splitlines() if line.count("|") >= 2]
    return {identity: Place(state, reason) for identity, state, reason in rows}


def setting(name: str) -> str | None:
    """A value of ``scontrol show config``; None where it has none."""
    for line in _slurm("scontrol", "show", "config").stdout.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == name:
            return value.strip()
    return None


def has_gpus(partition: str | None) -> bool:
    """Whether nodes of a partition have GPUs; None: of the default one."""
    asked = [f"--partition={partition}"] if partition else []
    rows = [line.split("|", 1) for line in _slurm("sinfo", "--noheader", "--format=%P|%G", *asked).stdout.splitlines()]
    return any("gpu" in row[-1] for row in rows if partition or row[0].endswith("*"))


def complaint(said: str) -> str:
    r"""The errors among the lines of a command of Slurm's, in one line.

    Example:
        >>> complaint("sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed\n")
        'invalid partition specified: gpu; Batch job submission failed'
    """
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.split("error: ", 1)[1] for line in lines if "error: " in line]
    return "; ".join(dict.fromkeys(errors)) or "; ".join(lines[-1:])


def _slurm(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm's batch process runs it.

    Told to stop before its time limit (SIGUSR2), it writes its checkpoint, has itself put in the queue again, and goes
    on from there when its turn comes. SIGTERM (``scancel``, preemption) ends it with a checkpoint.

    Attributes:
        job: the job.
    """

    job: RemoteJob

    def __call__(self) -> None:
        """Runs it here; the process ends with status 1 if it failed, so that Slurm's own accounts say it."""
        limit = _Limit()
        identity = _identity()
        folder = self.job.folder
        idle = int((load(folder / SLURM) or {}).get("idle", 0))
        write(folder, identity, self.job.overrides, idle)
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_ON_NODE", "1"))
        with suppress(KeyboardInterrupt, Interrupted):
            self.job()
        state = read(folder).state
        if limit.met and state not in (State.finished, State.pruned):
            record.clear(folder)  # what a process of it said when it was stopped
            outside = limit.outside or state == State.failed
            self._again(identity, idle + 1 if outside else 0)
        elif state == State.stopped:
            time.sleep(LAST_S)  # Slurm decides what becomes of a job that it has told to end
        if state == State.failed:
            sys.exit(1)

    def _again(self, identity: str, idle: int) -> None:
        """Back into the queue, unless it came to its time limit too often without a step."""
        folder, overrides = self.job.folder, self.job.overrides
        if idle >= IDLE_STOPS:
            why = f"met its time limit {idle} times in a row without training: raise hydra.launcher.timeout_min"
        else:
            write(folder, identity, overrides, idle)
            print(f"job {self.job.number}: at its time limit, put in the queue again", flush=True)
            done = _slurm("scontrol", "requeue", identity)
            if done.returncode == 0:
                signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # Slurm ends this process
                time.sleep(LAST_S)
                sys.exit(0)
            why = f"met its time limit, and Slurm would not take it again: {complaint(done.stderr)}"
        print(f"error: job {self.job.number}: {record.fail(folder, settings(overrides), why)}", file=sys.stderr)
        sys.exit(1)


class _Limit:
    """Listens for the signal that comes before the time limit, and passes it on as a request to stop."""

    def __init__(self) -> None:
        self.met = self.outside = False
        signal.signal(signal.SIGTERM, self._stop)  # where no training has taken it over
        signal.signal(signal.SIGUSR2, self._near)

    def _near(self, _number: int, _frame: Any) -> None:
        self.met = True
        signal.raise_signal(signal.SIGTERM)

    def _stop(self, _number: int, _frame: Any) -> None:
        self.outside = True
        raise KeyboardInterrupt


def settings(overrides: list[str]) -> list[str]:
    """A job's overrides without Hydra's own."""
    return [override for override in overrides if not override.startswith(("hydra.", "hydra/"))]


def _identity() -> str:
    """This job's, as ``squeue --array`` names it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
