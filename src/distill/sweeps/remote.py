"""Jobs of a multirun in other processes than the launcher's: what the Ray and the Slurm launcher share."""

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, run_job
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from distill.sweeps import record
from distill.sweeps.jobs import State, read
from distill.utils.errors import UserError
from distill.utils.invocation import STARTED_AS

log = logging.getLogger(__name__)
_ENVIRONMENT = ("HYDRA_FULL_ERROR", "DISTILL_TRACEBACK", STARTED_AS)


@dataclass(frozen=True)
class ProcessState:
    """What a job reads of the launcher's process: it is set in the job's."""

    singletons: dict[Any, Any]  # Hydra's
    argv: list[str]
    path: list[str]
    folder: str
    environment: dict[str, str]

    @classmethod
    def current(cls) -> "ProcessState":
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        return cls(Singleton.get_state(), sys.argv, sys.path, str(Path.cwd()), environment)


@dataclass(frozen=True)
class RemoteJob:
    """A job that can be pickled and called in any process that sees this machine's folders."""

    number: int
    overrides: list[str]
    folder: Path  # of its results, absolute
    config: DictConfig  # composed for it, Hydra's part included
    context: HydraContext
    function: TaskFunction
    process: ProcessState

    def __call__(self) -> JobReturn:
        """Runs the job in this process; raises ``Interrupted`` where it was asked to stop."""
        Singleton.set_state(self.process.singletons)
        sys.argv = list(self.process.argv)
        sys.path += [path for path in self.process.path if path not in sys.path]
        os.environ.update(self.process.environment)
        os.chdir(self.process.folder)
        return run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=self.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


class RemoteLauncher(Launcher):
    """A launcher whose jobs run in other processes."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before the first launch."""
        self.context = hydra_context
        self.function = task_function
        self.config = config

    @property
    def sweep_dir(self) -> Path:
        """The folder of the multirun."""
        return Path(str(self.config.hydra.sweep.dir))

    def jobs(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[RemoteJob]:
        """The jobs of one call of ``launch``, with its arguments; sets up Hydra's logging."""
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        process = ProcessState.current()
        jobs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
                config.hydra.sweep.dir = str(config.hydra.sweep.dir)  # its resolver is not known in other processes
            folder = Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)).absolute()
            jobs.append(RemoteJob(number, list(overrides), folder, config, self.context, self.function, process))
        return jobs


def without_hydra(overrides: list[str]) -> list[str]:
    """A job's overrides without Hydra's own."""
    return [override for override in overrides if not override.startswith(("hydra.", "hydra/"))]


def fail_lost_job(job: RemoteJob, reason: str) -> JobReturn:
    """The result of a job whose process died; writes the reason into its folder, unless it had finished."""
    if read(job.folder).state != State.finished:
        record.fail(job.folder, without_hydra(job.overrides), reason)
        log.error(f"job {job.folder.name}: {reason}")
    return empty_result(job)


def empty_result(job: RemoteJob) -> JobReturn:
    """The result of a job that returns nothing to its sweeper, like one that failed by itself."""
    return JobReturn(overrides=job.overrides, cfg=job.config, status=JobStatus.COMPLETED, _return_value=None)


def check_number(key: str, value: Any, least: float, whole: bool = False) -> None:
    """Checks an option of a launcher; None is allowed.

    Raises:
        UserError: it is no such number.
    """
    right_type = type(value) is int or (type(value) is float and not whole)
    if value is not None and not (right_type and value >= least):
        expected = "whole number" if whole else "number"
        raise UserError(f"hydra.launcher.{key} must be a {expected} from {least:g} or null, got {value!r}")
