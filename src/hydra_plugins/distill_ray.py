"""``hydra/launcher=ray``: the jobs of a multirun on one machine with several GPUs, or on a Ray cluster.

Not a subclass of hydra-ray-launcher's: its ``launch`` gathers all jobs with one ``ray.get``, which raises for all of
them when one worker dies, and its tasks with a GPU get a new process each, imports included.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from distill.sweeps import record
from distill.sweeps.remote import RemoteJob, at_least, lost, prepared, without_result
from distill.utils.errors import UserError, first_line

log = logging.getLogger(__name__)
DIED = "its worker process died (killed, or out of memory)"


class Slot:
    """A process that runs one job after the other on the devices that Ray gave it, and pays for imports once."""

    def ready(self) -> None:
        """Returns as soon as the process is there."""

    def run(self, job: RemoteJob) -> JobReturn | None:
        """One job; None: it was asked to stop."""
        from distill.utils.errors import Interrupted

        try:
            return job()
        except (KeyboardInterrupt, Interrupted):
            return None


class RayLauncher(Launcher):
    """Gives every job a slot of its own; a slot whose process dies is replaced, and only its job has failed.

    Args:
        gpus_per_job: a whole number, or a fraction below 1; None: 1 where there are GPUs, else 0.
        cpus_per_job: cores of a job; None: an equal share where a job has a GPU, else 1.
        memory_gb: that a job is counted with, in gigabytes; None: not counted.
        jobs_at_once: at most; None: as many as the machines hold.
        address: of a cluster ("auto": the one that this machine belongs to); None: Ray is started here for the sweep.
        gpus: that Ray may give away when it is started here; None: those found.
        cpus: likewise.

    Raises:
        UserError: Ray is missing, a number is out of range, or no machine has what a job asks for.
    """

    def __init__(
        self,
        gpus_per_job: float | None = None,
        cpus_per_job: float | None = None,
        memory_gb: float | None = None,
        jobs_at_once: int | None = None,
        address: str | None = None,
        gpus: int | None = None,
        cpus: int | None = None,
    ) -> None:
        self.gpus_per_job = gpus_per_job
        self.cpus_per_job = cpus_per_job
        self.memory_gb = memory_gb
        self.jobs_at_once = jobs_at_once
        self.address = address
        self.gpus = gpus
        self.cpus = cpus
        self._idle: list[Any] = []  # between two calls of a sweeper that asks for jobs bit by bit

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the knobs and starts Ray, or joins the cluster."""
        self.config = config
        self.context = hydra_context
        self.function = task_function
        for key in ("gpus_per_job", "cpus_per_job", "memory_gb"):
            at_least(key, getattr(self, key), 0)
        at_least("jobs_at_once", self.jobs_at_once, 1, whole=True)
        for key in ("gpus", "cpus"):
            at_least(key, getattr(self, key), 0, whole=True)
            if self.address is not None and getattr(self, key) is not None:
                raise UserError(f"hydra.launcher.{key} is for a machine alone; a cluster (address) knows its own")
        if (self.gpus_per_job or 0) > 1 and self.gpus_per_job != int(self.gpus_per_job or 0):
            raise UserError(
                f"hydra.launcher.gpus_per_job must be a whole number or a fraction below 1, got {self.gpus_per_job}"
            )
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # Ray reads it when it is imported: each job's lines are its own
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise UserError("hydra/launcher=ray needs Ray: pip install 'distill[ray]'") from error

    def _start(self) -> None:
        """Starts Ray here, or joins the cluster."""
        import ray

        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a job without GPUs sees what the user set
        local: dict[str, Any] = {"num_gpus": self.gpus, "num_cpus": self.cpus, "include_dashboard": False}
        try:
            ray.init(address=self.address or "local", logging_level=logging.ERROR, **({} if self.address else local))
        except Exception as error:  # of a machine too busy to start it in time, Ray says just that
            where = f"hydra.launcher.address={self.address}" if self.address else "Ray could not be started"
            raise UserError(f"{where}: {first_line(error)}") from error

    def _width(self) -> tuple[dict[str, float], int]:
        """What a job asks for, and how many such jobs the machines hold."""
        import ray

        nodes = [
            node["Resources"]
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        ]
        has = {kind: [node.get(kind, 0.0) for node in nodes] for kind in ("GPU", "CPU", "memory")}
        gpus = self.gpus_per_job if self.gpus_per_job is not None else float(sum(has["GPU"]) > 0)
        share = min((c * gpus / g for c, g in zip(has["CPU"], has["GPU"], strict=True) if gpus and g), default=1.0)
        cpus = self.cpus_per_job if self.cpus_per_job is not None else max(1.0, float(int(share)))
        asked = {"GPU": gpus, "CPU": cpus, "memory": (self.memory_gb or 0) * 1e9}
        knobs = {"GPU": "gpus_per_job", "CPU": "cpus_per_job", "memory": "memory_gb"}
        for kind, amount in asked.items():
            if amount > max(has[kind]):
                unit = 1e9 if kind == "memory" else 1
                most = max(has[kind]) / unit
                raise UserError(
                    f"hydra.launcher.{knobs[kind]}={amount / unit:g}: no machine has so many, at most {most:g}"
                )
        fits = [min((int(has[kind][i] / amount + 1e-6) for kind, amount in asked.items() if amount), default=1)
                for i in range(len(nodes))]  # fmt: skip
        return asked, sum(fits)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs and waits for them.

        Returns:
            What each gave, in their order.
        """
        import ray

        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        self._start()
        asked, width = self._width()
        jobs = deque(prepared(self.config, self.context, self.function, job_overrides, initial_job_idx))
        width = min(width, self.jobs_at_once or width, len(jobs))
        log.info(f"Launching {len(jobs)} jobs with Ray, {width} at once")
        actor: Any = ray.remote(num_gpus=asked["GPU"], num_cpus=asked["CPU"], memory=asked["memory"])(Slot)
        done: dict[int, JobReturn] = {}
        for job, result in self._results(jobs, width, actor.remote):
            done[job.number] = result
            print(record.progress(Path(str(self.config.hydra.sweep.dir))), flush=True)
        return [done[number] for number in sorted(done)]

    def _results(
        self, jobs: deque[RemoteJob], width: int, make: Callable[[], Any]
    ) -> Iterator[tuple[RemoteJob, JobReturn]]:
        """Every job with what it gave, as they end; at most ``width`` slots work, and stay for later jobs."""
        import ray
        from ray.exceptions import RayActorError, RayError

        slots = self._idle + [make() for _ in range(width - len(self._idle))]
        self._idle = []
        pending: dict[Any, tuple[Any, RemoteJob | None]] = {slot.ready.remote(): (slot, None) for slot in slots}
        while jobs or any(job for _, job in pending.values()):
            (first, *_), _ = ray.wait(list(pending), num_returns=1)
            slot, job = pending.pop(first)
            try:
                result = ray.get(first)
            except RayError as error:
                if job is None:
                    raise UserError(f"Ray could not start a worker: {first_line(error)}") from error
                died = isinstance(error, RayActorError)
                yield job, lost(job, DIED if died else first_line(error))
                ray.kill(slot)
                if jobs:
                    slot = make()
                    pending[slot.ready.remote()] = (slot, None)
                continue
            if job is not None:
                yield job, result or without_result(job)
            if jobs:
                job = jobs.popleft()
                pending[slot.run.remote(job)] = (slot, job)
            else:
                self._idle.append(slot)
        self._idle += [slot for slot, _ in pending.values()]
