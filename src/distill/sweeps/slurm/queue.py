"""A job of a sweep under Slurm: what runs on the node, its ``slurm.json``, and queries of Slurm's commands."""

import logging
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
from distill.sweeps.remote import RemoteJob, without_hydra
from distill.utils.checked import write_json
from distill.utils.errors import Interrupted, UserError
from distill.utils.logging import setup_logging

log = logging.getLogger(__name__)
SLURM = "slurm.json"  # of a job: {"id", "overrides", "idle"}
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
         "TIMEOUT", "REVOKED"}  # fmt: skip
MAX_IDLE_STOPS = 3  # time limits in a row that a job may meet outside of training
SHUTDOWN_S = 60.0  # that a job which Slurm is ending waits for its end


class QueueEntry(NamedTuple):
    """A job in Slurm's queue: its state, and the reason why it waits or how it ended."""

    state: str
    reason: str

    @property
    def ended(self) -> bool:
        return self.state.partition(" ")[0] in ENDED


def write(folder: Path, job_id: str, overrides: list[str], idle: int = 0) -> None:
    """Writes ``slurm.json``: Slurm's id ("12_3" in an array), and the time limits met in a row outside of training."""
    write_json(folder / SLURM, {"id": job_id, "overrides": overrides, "idle": idle}, several_writers=True)


def queue() -> dict[str, QueueEntry]:
    """This user's jobs by id, including those that ended a few minutes ago."""
    options = ["--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
    squeue = _run("squeue", *options, f"--user={os.getuid()}")
    if squeue.returncode:
        raise UserError(f"Slurm does not answer: {errors(squeue.stderr)}")
    rows = [line.strip().split("|", 2) for line in squeue.stdout.splitlines() if line.count("|") >= 2]
    return {job_id: QueueEntry(state, reason) for job_id, state, reason in rows}


def setting(name: str) -> str | None:
    """A value of ``scontrol show config``; None where it has none."""
    pairs = (line.partition("=") for line in _run("scontrol", "show", "config").stdout.splitlines())
    return next((value.strip() for key, _, value in pairs if key.strip() == name), None)


def has_gpus(partition: str | None) -> bool:
    """Whether nodes of a partition have GPUs; None: of the default one."""
    options = [f"--partition={partition}"] if partition else []
    rows = [line.split("|", 1) for line in _run("sinfo", "--noheader", "--format=%P|%G", *options).stdout.splitlines()]
    return any("gpu" in row[-1] for row in rows if partition or row[0].endswith("*"))


def errors(output: str) -> str:
    r"""The errors in the output of a command of Slurm, in one line.

    Example:
        >>> errors("sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed\n")
        'invalid partition specified: gpu; Batch job submission failed'
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    messages = [line.split("error: ", 1)[1] for line in lines if "error: " in line]
    return "; ".join(dict.fromkeys(messages)) or "; ".join(lines[-1:])


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


@dataclass(frozen=True)
class SlurmJob:
    """A job as Slurm's batch process runs it.

    On SIGUSR2, which comes before its time limit, it writes a checkpoint, is put into the queue again, and resumes
    when its turn comes. SIGTERM (``scancel``, preemption) ends it with a checkpoint.
    """

    job: RemoteJob

    def __call__(self) -> None:
        """Runs the job in this process, which exits with status 1 if it failed, for Slurm's accounting."""
        setup_logging()
        time_limit = _TimeLimit()
        job_id = _job_id()
        folder = self.job.folder
        idle = int((load(folder / SLURM) or {}).get("idle", 0))
        write(folder, job_id, self.job.overrides, idle)
        os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_ON_NODE", "1"))
        with suppress(KeyboardInterrupt, Interrupted):
            self.job()
        state = read(folder).state
        if time_limit.reached and state not in (State.finished, State.pruned):
            record.clear(folder)  # a child process may have written a failure when it was stopped
            self._requeue(job_id, idle + 1 if time_limit.outside_training or state == State.failed else 0)
        elif state == State.stopped:
            time.sleep(SHUTDOWN_S)  # Slurm decides what becomes of a job that it has told to end
        if state == State.failed:
            sys.exit(1)

    def _requeue(self, job_id: str, idle: int) -> None:
        """Back into the queue, unless the job has met its time limit too often without a training step."""
        folder, overrides = self.job.folder, self.job.overrides
        if idle >= MAX_IDLE_STOPS:
            reason = f"met its time limit {idle} times in a row without training: raise hydra.launcher.timeout_min"
        else:
            write(folder, job_id, overrides, idle)
            log.warning(f"job {self.job.number}: at its time limit, put in the queue again")
            requeue = _run("scontrol", "requeue", job_id)
            if requeue.returncode == 0:
                signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # Slurm ends this process
                time.sleep(SHUTDOWN_S)
                sys.exit(0)
            reason = f"met its time limit, and Slurm would not take it again: {errors(requeue.stderr)}"
        reason = record.fail(folder, without_hydra(overrides), reason)
        log.error(f"job {self.job.number}: {reason}")
        sys.exit(1)


class _TimeLimit:
    """Handles the signal that comes before the time limit, and passes it on as a request to stop."""

    def __init__(self) -> None:
        self.reached = self.outside_training = False
        signal.signal(signal.SIGTERM, self._on_sigterm)  # replaced while a training runs
        signal.signal(signal.SIGUSR2, self._on_sigusr2)

    def _on_sigusr2(self, _number: int, _frame: Any) -> None:
        self.reached = True
        signal.raise_signal(signal.SIGTERM)

    def _on_sigterm(self, _number: int, _frame: Any) -> None:
        self.outside_training = True
        raise KeyboardInterrupt


def _job_id() -> str:
    """This job's id, as ``squeue --array`` prints it."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
