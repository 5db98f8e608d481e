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
from io import StringIO
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from distill.sweeps import record
from distill.sweeps.jobs import State, load, read
from distill.sweeps.remote import RemoteJob, at_least, lost, prepared, without_result
from distill.sweeps.slurm import queue as slurm
from distill.sweeps.slurm.queue import SLURM, Place, SlurmJob
from distill.utils.errors import UserError

log = logging.getLogger(__name__)
PATIENT = {"None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Cleaning"}  # waiting for these is normal
PATIENCE_S = 60.0  # for the last files of a job on another machine to be seen here


class SlurmLauncher(Launcher):
    """Submits the jobs, says how they come along, and waits for them; they go on without it.

    Args:
        gpus_per_job: a whole number; None: 1 where the partition has any, else 0.
        cpus_per_job: cores; None: Slurm's default.
        memory_gb: of main memory; None: Slurm's default.
        timeout_min: after which a job makes room, and is queued again to go on; None: the partition's limit.
        stop_before_s: seconds before that limit at which a job is told to write its checkpoint.
        jobs_at_once: at most; None: as many as Slurm gives.
        partition: None: the default one.
        account: to be charged; None: the user's default.
        qos: quality of service; None: the default.
        constraint: features that a node must have; None: any node.
        sbatch: further options of ``sbatch``, by their long names.
        setup: shell lines before a job.
        poll_s: seconds between two looks at the queue.

    Raises:
        UserError: submitit or Slurm is missing, a knob is out of range, or Slurm refuses the jobs.
    """

    def __init__(
        self,
        gpus_per_job: int | None = None,
        cpus_per_job: int | None = None,
        memory_gb: float | None = None,
        timeout_min: int | None = None,
        stop_before_s: int = 120,
        jobs_at_once: int | None = None,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        sbatch: Any = None,
        setup: Any = None,
        poll_s: float = 5.0,
    ) -> None:
        self.gpus_per_job = gpus_per_job
        self.cpus_per_job = cpus_per_job
        self.memory_gb = memory_gb
        self.timeout_min = timeout_min
        self.stop_before_s = stop_before_s
        self.jobs_at_once = jobs_at_once
        self.partition = partition
        self.account = account
        self.qos = qos
        self.constraint = constraint
        self.sbatch = sbatch
        self.extra_lines = setup
        self.poll_s = poll_s
        self._said: set[str] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the knobs, and that Slurm is there."""
        self.config = config
        self.context = hydra_context
        self.function = task_function
        at_least("gpus_per_job", self.gpus_per_job, 0, whole=True)
        for key in ("cpus_per_job", "timeout_min", "jobs_at_once"):
            at_least(key, getattr(self, key), 1, whole=True)
        at_least("memory_gb", self.memory_gb, 0.001)
        for key, least in (("stop_before_s", 1), ("poll_s", 0.1)):
            at_least(key, getattr(self, key), least, whole=key == "stop_before_s")
            if getattr(self, key) is None:
                raise UserError(f"hydra.launcher.{key} must be a number, got None")
        if self.timeout_min is not None and self.stop_before_s >= 60 * self.timeout_min:
            raise UserError(
                f"hydra.launcher.stop_before_s={self.stop_before_s} must be below "
                f"timeout_min={self.timeout_min} ({60 * self.timeout_min} s)"
            )
        for key, node, kind in (("sbatch", self.sbatch, dict), ("setup", self.extra_lines, list)):
            if not isinstance(_plain(node), kind | None):
                raise UserError(f"hydra.launcher.{key} must be a {kind.__name__} or null, got {_plain(node)!r}")
        if shutil.which("sbatch") is None:
            raise UserError(
                "hydra/launcher=slurm needs Slurm's commands, and this machine has no sbatch: give the command on a "
                "login node of the cluster, or use hydra/launcher=ray"
            )
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise UserError("hydra/launcher=slurm needs submitit: pip install 'distill[slurm]'") from error

    def _executor(self, folder: Path) -> Any:
        """What writes the batch scripts and pickles the jobs, in ``folder``."""
        from submitit.slurm.slurm import SlurmExecutor

        # The batch process is Python itself ("exec", no srun), so that "B:" sends the signal to it and not to its
        # children: the workers that load data would die of it.
        executor = SlurmExecutor(folder, python=f"exec {shlex.quote(sys.executable)}")
        gpus = int(slurm.has_gpus(self.partition)) if self.gpus_per_job is None else self.gpus_per_job
        executor.update_parameters(
            job_name="distill", time=self.timeout_min, gpus_per_node=gpus or None, cpus_per_task=self.cpus_per_job,
            mem=None if self.memory_gb is None else f"{max(1, round(1024 * self.memory_gb))}M",
            partition=self.partition, account=self.account, qos=self.qos, constraint=self.constraint,
            setup=_plain(self.extra_lines), use_srun=False, stderr_to_stdout=True, wckey=None,
            additional_parameters={
                "requeue": True, "signal": f"B:USR2@{self.stop_before_s}", **(_plain(self.sbatch) or {})
            },
        )  # fmt: skip
        return executor

    def _submit(self, jobs: Sequence[RemoteJob], folder: Path) -> dict[str, RemoteJob]:
        """One array, by identity."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = self._executor(folder)
        executor.update_parameters(array_parallelism=self.jobs_at_once or len(jobs))
        for job in jobs:
            record.clear(job.folder)
        try:
            with redirect_stderr(StringIO()):  # submitit repeats what sbatch says
                submitted = executor.map_array(SlurmJob.__call__, [SlurmJob(job) for job in jobs])
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise UserError(f"Slurm does not take the jobs: {slurm.complaint(str(error))}") from error
        found = {entry.job_id: job for entry, job in zip(submitted, jobs, strict=True)}
        for identity, job in found.items():
            slurm.write(job.folder, identity, job.overrides)
        return found

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submits the jobs that are neither finished nor in the queue already, and waits for all.

        Returns:
            Nothing but their configurations, in their order: what a job gives is in its folder.
        """
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        sweep = Path(str(self.config.hydra.sweep.dir))
        jobs = list(prepared(self.config, self.context, self.function, job_overrides, initial_job_idx))
        waiting, missing = self._known(jobs)
        finished = len(jobs) - len(waiting) - len(missing)
        most = int(slurm.setting("MaxArraySize") or 1001)
        parts = [missing[i : i + most] for i in range(0, len(missing), most)]
        log.info(f"Slurm: {len(missing)} jobs to submit, {len(waiting)} in its queue already, {finished} finished")
        try:
            while parts or waiting:
                while parts and not (waiting and self.jobs_at_once):  # which holds within an array
                    waiting |= self._submit(parts.pop(0), (sweep / ".submitit").absolute())
                for _ in self._ends(waiting, sweep):
                    print(record.progress(sweep), flush=True)
        except KeyboardInterrupt:
            arrays = " ".join(sorted({identity.split("_")[0] for identity in waiting}))
            print(f"\nSlurm's jobs go on by themselves; to stop them: scancel {arrays}", file=sys.stderr, flush=True)
            raise
        return [without_result(job) for job in jobs]

    def _known(self, jobs: Sequence[RemoteJob]) -> tuple[dict[str, RemoteJob], list[RemoteJob]]:
        """Jobs that are in Slurm's queue since an earlier command, and those that must be submitted.

        Raises:
            UserError: one of the former has other settings than are asked for now.
        """
        queue = slurm.queue()
        waiting: dict[str, RemoteJob] = {}
        missing = []
        for job in jobs:
            if read(job.folder).state == State.finished:
                continue
            entry = load(job.folder / SLURM) or {}
            if entry and not queue.get(entry["id"], Place("COMPLETED", "")).ended:
                if slurm.settings(entry["overrides"]) != slurm.settings(job.overrides):
                    raise UserError(f"job {job.number} is in Slurm's queue with other settings: scancel {entry['id']}")
                waiting[entry["id"]] = job
            else:
                missing.append(job)
        return waiting, missing

    def _ends(self, waiting: dict[str, RemoteJob], sweep: Path) -> Iterator[RemoteJob]:
        """Every job as it ends; taken out of ``waiting``."""
        gone: dict[str, float] = {}  # since when Slurm has done with it, and its folder does not say how it ended
        while waiting:
            time.sleep(self.poll_s)
            try:
                queue = slurm.queue()
            except UserError as error:
                self._say(f"{error}; still waiting")
                continue
            held = [queue[i].reason for i in waiting if i in queue and queue[i].state == "PENDING"]
            for reason in {reason.strip("()") for reason in held} - PATIENT:
                self._say(f"Slurm holds {held.count(reason)} jobs back: {reason}")
            for identity, job in list(waiting.items()):
                place = queue.get(identity)
                if place is not None and not place.ended:
                    gone.pop(identity, None)
                    continue
                found = read(job.folder)
                if found.state == State.failed:
                    why = (found.failure or {}).get("reason")
                    print(f"error: job {job.number}: {why}", file=sys.stderr, flush=True)
                elif found.state not in (State.finished, State.pruned):
                    since = gone.setdefault(identity, time.monotonic())
                    if time.monotonic() - since < self._patience(place):
                        continue
                    lost(job, _why(place, identity, sweep))
                del waiting[identity]
                yield job

    def _patience(self, place: Place | None) -> float:
        """Seconds: a job that was killed is called so at the second look, for Slurm may put it in the queue again."""
        return PATIENCE_S if place is None or place.state == "COMPLETED" else self.poll_s / 2

    def _say(self, what: str) -> None:
        """Once."""
        if what not in self._said:
            self._said.add(what)
            print(f"warning: {what}", file=sys.stderr, flush=True)


def _why(place: Place | None, identity: str, sweep: Path) -> str:
    """Why a job has no result."""
    logs = f"see {os.path.relpath(sweep / '.submitit' / f'{identity}_0_log.out')}"
    if place is None:
        return f"it left Slurm's queue without a word ({logs})"
    if place.state == "FAILED":
        return f"its process died (killed, or out of memory); {logs}"
    return f"Slurm ended it: {place.state}; {logs}"


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
