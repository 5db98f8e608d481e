"""``hydra/launcher=ray``: the jobs of a multirun on one machine with several GPUs, or on a Ray cluster.

Not a subclass of hydra-ray-launcher's: its ``launch`` gathers all jobs with one ``ray.get``, which raises for all of
them when one worker dies, and its tasks with a GPU get a new process each, imports included.
"""

import logging
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.utils import JobReturn
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from distill.sweeps import record
from distill.sweeps.remote import RemoteJob, RemoteLauncher, check_number, empty_result, fail_lost_job
from distill.utils.errors import Interrupted, UserError, first_line, require_package

log = logging.getLogger(__name__)
DIED = "its worker process died (killed, or out of memory)"


class Worker:
    """A Ray actor that runs one job after the other on its devices, and imports torch once."""

    def ready(self) -> None:
        """Returns as soon as the process has started."""

    def run(self, job: RemoteJob) -> JobReturn | None:
        """Runs a job; None: it was asked to stop."""
        try:
            return job()
        except (KeyboardInterrupt, Interrupted):
            return None


@dataclass(eq=False)
class RayLauncher(RemoteLauncher):
    """Runs every job in a worker process; a worker that dies is replaced, and only its job fails.

    The options: ``conf/hydra/launcher/ray.yaml``.

    Raises:
        UserError: Ray is missing, a number is out of range, or no machine has what a job asks for.
    """

    gpus_per_job: float | None = None
    cpus_per_job: float | None = None
    memory_gb: float | None = None
    jobs_at_once: int | None = None
    address: str | None = None
    gpus: int | None = None
    cpus: int | None = None
    _idle: list[Any] = field(default_factory=list, init=False)  # workers, kept for the sweeper's next call

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Checks the options."""
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        for key in ("gpus_per_job", "cpus_per_job", "memory_gb"):
            check_number(key, getattr(self, key), 0)
        check_number("jobs_at_once", self.jobs_at_once, 1, whole=True)
        for key in ("gpus", "cpus"):
            check_number(key, getattr(self, key), 0, whole=True)
            if self.address is not None and getattr(self, key) is not None:
                raise UserError(f"hydra.launcher.{key} is for a machine alone; a cluster (address) knows its own")
        if (self.gpus_per_job or 0) > 1 and self.gpus_per_job != int(self.gpus_per_job or 0):
            raise UserError(
                f"hydra.launcher.gpus_per_job must be a whole number or a fraction below 1, got {self.gpus_per_job}"
            )
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # read when Ray is imported: jobs print equal lines
        if self.address is None and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
            # Ray listens on every interface: with a token nobody else can use it (from Ray 2.52 on), read likewise
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        require_package("ray", "hydra/launcher=ray", "Ray", "ray")

    def _start(self) -> None:
        """Starts Ray on this machine, or joins the cluster."""
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

    def _resources(self) -> tuple[dict[str, Any], int]:
        """The resources of a job as Ray's arguments, and how many such jobs the machines hold."""
        import ray

        nodes = [
            node["Resources"]
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        ]
        available = {resource: [node.get(resource, 0.0) for node in nodes] for resource in ("GPU", "CPU", "memory")}
        gpus = self.gpus_per_job if self.gpus_per_job is not None else float(sum(available["GPU"]) > 0)
        shares = (c * gpus / g for c, g in zip(available["CPU"], available["GPU"], strict=True) if gpus and g)
        cpus = self.cpus_per_job if self.cpus_per_job is not None else max(1.0, float(int(min(shares, default=1.0))))
        required = {"GPU": gpus, "CPU": cpus, "memory": (self.memory_gb or 0) * 1e9}
        for resource, option in (("GPU", "gpus_per_job"), ("CPU", "cpus_per_job"), ("memory", "memory_gb")):
            unit = 1e9 if resource == "memory" else 1
            if required[resource] > max(available[resource]):
                raise UserError(
                    f"hydra.launcher.{option}={required[resource] / unit:g}: no machine has so many, "
                    f"at most {max(available[resource]) / unit:g}"
                )
        limits = [
            [int(available[resource][i] / amount + 1e-6) for resource, amount in required.items() if amount]
            for i in range(len(nodes))
        ]
        capacity = sum(min(counts, default=1) for counts in limits)
        return {"num_gpus": gpus, "num_cpus": cpus, "memory": required["memory"]}, capacity

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        import ray

        jobs = deque(self.jobs(job_overrides, initial_job_idx))
        self._start()
        resources, capacity = self._resources()
        n_workers = min(capacity, self.jobs_at_once or capacity, len(jobs))
        log.info(f"Launching {len(jobs)} jobs with Ray, {n_workers} at once")
        actor: Any = ray.remote(**resources)(Worker)
        results: dict[int, JobReturn] = {}
        for job, result in self._results(jobs, n_workers, actor.remote):
            results[job.number] = result
            print(record.progress(self.sweep_dir, job.folder), flush=True)
        return [results[number] for number in sorted(results)]

    def _results(
        self, jobs: deque[RemoteJob], n_workers: int, start_worker: Callable[[], Any]
    ) -> Iterator[tuple[RemoteJob, JobReturn]]:
        """Every job with its result, as they end; the workers stay for later calls."""
        import ray
        from ray.exceptions import RayActorError, RayError

        workers = self._idle + [start_worker() for _ in range(n_workers - len(self._idle))]
        self._idle = []
        pending: dict[Any, tuple[Any, RemoteJob | None]] = {worker.ready.remote(): (worker, None) for worker in workers}
        while jobs or any(job for _, job in pending.values()):
            (first, *_), _ = ray.wait(list(pending), num_returns=1)
            worker, job = pending.pop(first)
            try:
                result = ray.get(first)
            except RayError as error:
                if job is None:
                    raise UserError(f"Ray could not start a worker: {first_line(error)}") from error
                died = isinstance(error, RayActorError)
                yield job, fail_lost_job(job, DIED if died else first_line(error))
                ray.kill(worker)
                if jobs:
                    worker = start_worker()
                    pending[worker.ready.remote()] = (worker, None)
                continue
            if job is not None:
                yield job, result or empty_result(job)
            if jobs:
                job = jobs.popleft()
                pending[worker.run.remote(job)] = (worker, job)
            else:
                self._idle.append(worker)
        self._idle += [worker for worker, _ in pending.values()]
