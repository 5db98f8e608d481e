"""``hydra/launcher=slurm``: the jobs of a multirun as an array of Slurm's, through submitit.

Not hydra-submitit-launcher's: it waits for what submitit pickles at a job's end, which a killed job never writes where
Slurm keeps no accounts; here a job that left the queue is judged by its folder.
"""

import logging
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from distill.sweeps import record
from distill.sweeps.jobs import State, load, read
from distill.sweeps.remote import RemoteJob, RemoteLauncher, check_number, empty_result, fail_lost_job, without_hydra
from distill.sweeps.slurm import queue as slurm
from distill.sweeps.slurm.queue import SLURM, QueueEntry, SlurmJob
from distill.utils.errors import UserError, require_package

log = logging.getLogger(__name__)
NORMAL_REASONS = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Cleaning"}  # to be pending
FILES_TIMEOUT_S = 60.0  # for the last files of a job on another machine to appear here


@dataclass(frozen=True)
class SlurmOptions:
    """The options of the launcher, explained in ``conf/hydra/launcher/slurm.yaml``."""

    gpus_per_job: int | None = None
    cpus_per_job: int | None = None
    memory_gb: float | None = None
    timeout_min: int | None = None
    stop_before_s: int = 120
    jobs_at_once: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    sbatch: Any = None
    setup: Any = None
    poll_s: float = 5.0


class SlurmLauncher(RemoteLauncher):
    """Submits the jobs, reports their progress, and waits for them; they go on without it.

    Raises:
        UserError: submitit or Slurm is missing, an option is out of range, or Slurm refuses the jobs.
    """

    def __init__(self, **options: Any) -> None:
        self.options = SlurmOptions(**{key: _plain(value) for key, value in options.items()})
        self._warned: set[str] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the options, and that Slurm's commands exist."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        options = self.options
        for key, least in (("memory_gb", 0.001), ("poll_s", 0.1)):
            check_number(key, getattr(options, key), least)
        for key in ("gpus_per_job", "cpus_per_job", "timeout_min", "jobs_at_once", "stop_before_s"):
            check_number(key, getattr(options, key), 0 if key == "gpus_per_job" else 1, whole=True)
        for key in ("stop_before_s", "poll_s"):
            if getattr(options, key) is None:
                raise UserError(f"hydra.launcher.{key} must be a number, got None")
        if options.timeout_min is not None and options.stop_before_s >= 60 * options.timeout_min:
            raise UserError(
                f"hydra.launcher.stop_before_s={options.stop_before_s} must be below "
                f"timeout_min={options.timeout_min} ({60 * options.timeout_min} s)"
            )
        for key, value, expected in (("sbatch", options.sbatch, dict), ("setup", options.setup, list)):
            if not isinstance(value, expected | None):
                raise UserError(f"hydra.launcher.{key} must be a {expected.__name__} or null, got {value!r}")
        if shutil.which("sbatch") is None:
            raise UserError(
                "hydra/launcher=slurm needs Slurm's commands, and this machine has no sbatch: give the command on a "
                "login node of the cluster, or use hydra/launcher=ray"
            )
        require_package("submitit", "hydra/launcher=slurm", "submitit", "slurm")

    def _executor(self, array_parallelism: int) -> Any:
        """Submitit's executor, which writes the batch scripts and the pickled jobs into ``.submitit``."""
        from submitit.slurm.slurm import SlurmExecutor

        # The batch process is Python itself ("exec", no srun), so that "B:" sends the signal to it and not to its
        # child processes: the data loader workers would die of it.
        executor = SlurmExecutor(
            (self.sweep_dir / ".submitit").absolute(), python=f"exec {shlex.quote(sys.executable)}"
        )
        options = self.options
        gpus = int(slurm.has_gpus(options.partition)) if options.gpus_per_job is None else options.gpus_per_job
        executor.update_parameters(
            job_name="distill", time=options.timeout_min, gpus_per_node=gpus or None,
            cpus_per_task=options.cpus_per_job,
            mem=None if options.memory_gb is None else f"{max(1, round(1024 * options.memory_gb))}M",
            partition=options.partition, account=options.account, qos=options.qos, constraint=options.constraint,
            setup=options.setup, use_srun=False, stderr_to_stdout=True, wckey=None, array_parallelism=array_parallelism,
            additional_parameters={
                "requeue": True, "signal": f"B:USR2@{options.stop_before_s}", **(options.sbatch or {})
            },
        )  # fmt: skip
        return executor

    def _submit(self, jobs: Sequence[RemoteJob]) -> dict[str, RemoteJob]:
        """Submits the jobs as one array; returns them by their ids."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = self._executor(array_parallelism=self.options.jobs_at_once or len(jobs))
        for job in jobs:
            record.clear(job.folder)
        try:
            with redirect_stderr(StringIO()):  # submitit repeats sbatch's messages
                submitted = executor.map_array(SlurmJob.__call__, [SlurmJob(job) for job in jobs])
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise UserError(f"Slurm does not take the jobs: {slurm.errors(str(error))}") from error
        by_id = {entry.job_id: job for entry, job in zip(submitted, jobs, strict=True)}
        for job_id, job in by_id.items():
            slurm.write(job.folder, job_id, job.overrides)
        return by_id

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits the jobs that are neither finished nor in the queue already, and waits for all."""
        jobs = self.jobs(job_overrides, initial_job_idx)
        waiting, missing = self._split(jobs)
        finished = len(jobs) - len(waiting) - len(missing)
        array_size = int(slurm.setting("MaxArraySize") or 1001)
        arrays = [missing[i : i + array_size] for i in range(0, len(missing), array_size)]
        log.info(f"Slurm: {len(missing)} jobs to submit, {len(waiting)} in its queue already, {finished} finished")
        try:
            while arrays or waiting:
                while arrays and not (waiting and self.options.jobs_at_once):  # a limit that holds within one array
                    waiting |= self._submit(arrays.pop(0))
                for job in self._ended(waiting):
                    print(record.progress(self.sweep_dir, job.folder), flush=True)
        except KeyboardInterrupt:
            array_ids = " ".join(sorted({job_id.split("_")[0] for job_id in waiting}))
            print(f"\nSlurm's jobs go on by themselves; to stop them: scancel {array_ids}", file=sys.stderr, flush=True)
            raise
        return [empty_result(job) for job in jobs]

    def _split(self, jobs: Sequence[RemoteJob]) -> tuple[dict[str, RemoteJob], list[RemoteJob]]:
        """The unfinished jobs: those in Slurm's queue since an earlier command, and those to be submitted."""
        queue = slurm.queue()
        waiting: dict[str, RemoteJob] = {}
        missing = []
        for job in jobs:
            if read(job.folder).state == State.finished:
                continue
            entry = load(job.folder / SLURM) or {}
            if entry and not queue.get(entry["id"], QueueEntry("COMPLETED", "")).ended:
                if without_hydra(entry["overrides"]) != without_hydra(job.overrides):
                    raise UserError(f"job {job.number} is in Slurm's queue with other settings: scancel {entry['id']}")
                waiting[entry["id"]] = job
            else:
                missing.append(job)
        return waiting, missing

    def _ended(self, waiting: dict[str, RemoteJob]) -> Iterator[RemoteJob]:
        """Every job as it ends; taken out of ``waiting``."""
        left_at: dict[str, float] = {}  # when jobs left the queue whose folder does not show how they ended
        while waiting:
            time.sleep(self.options.poll_s)
            try:
                queue = slurm.queue()
            except UserError as error:
                self._warn_once(f"{error}; still waiting")
                continue
            reasons = [queue[i].reason for i in waiting if i in queue and queue[i].state == "PENDING"]
            for reason in {reason.strip("()") for reason in reasons} - NORMAL_REASONS:
                self._warn_once(f"Slurm holds {reasons.count(reason)} jobs back: {reason}")
            for job_id, job in list(waiting.items()):
                entry = queue.get(job_id)
                if entry is not None and not entry.ended:
                    left_at.pop(job_id, None)
                    continue
                result = read(job.folder)
                if result.state == State.failed:
                    failure = (result.failure or {}).get("reason")
                    print(f"error: job {job.number}: {failure}", file=sys.stderr, flush=True)
                elif result.state not in (State.finished, State.pruned):
                    waited_s = time.monotonic() - left_at.setdefault(job_id, time.monotonic())
                    # A killed job is lost at the second look, for Slurm may requeue it; files of others may be late.
                    killed = entry is not None and entry.state != "COMPLETED"
                    if waited_s < (self.options.poll_s / 2 if killed else FILES_TIMEOUT_S):
                        continue
                    fail_lost_job(job, _lost_reason(entry, job_id, self.sweep_dir))
                del waiting[job_id]
                yield job

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            print(f"warning: {message}", file=sys.stderr, flush=True)


def _lost_reason(entry: QueueEntry | None, job_id: str, sweep: Path) -> str:
    """Why a job has no result."""
    logs = f"see {os.path.relpath(sweep / '.submitit' / f'{job_id}_0_log.out')}"
    if entry is None:
        return f"it left Slurm's queue without a word ({logs})"
    if entry.state == "FAILED":
        return f"its process died (killed, or out of memory); {logs}"
    return f"Slurm ended it: {entry.state}; {logs}"


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
