"""A job of a multirun in another process than the launcher's: what the Ray and the Slurm launcher share."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from distill.sweeps import record
from distill.sweeps.jobs import State, read
from distill.utils.errors import UserError
from distill.utils.invocation import STARTED_AS

_ENVIRONMENT = ("HYDRA_FULL_ERROR", "DISTILL_TRACEBACK", STARTED_AS)


@dataclass(frozen=True)
class RemoteJob:
    """A job that can be pickled and called in any process that sees this machine's folders."""

    number: int
    overrides: list[str]
    folder: Path  # of its results, absolute
    config: DictConfig  # composed for it, Hydra's part included
    context: HydraContext
    function: TaskFunction
    process: dict[str, Any]  # state of the launcher's process, see _process_state

    def __call__(self) -> JobReturn:
        """Runs the job in this process; raises ``Interrupted`` where it was asked to stop."""
        Singleton.set_state(self.process["singletons"])
        sys.argv = list(self.process["argv"])
        sys.path += [path for path in self.process["path"] if path not in sys.path]
        os.environ.update(self.process["environment"])
        os.chdir(self.process["folder"])
        return run_job(
            hydra_context=self.context,
            task_function=self.function,
            config=self.config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )


def _process_state() -> dict[str, Any]:
    """What a job reads of the launcher's process: it is set in the job's."""
    return {
        "singletons": Singleton.get_state(),
        "argv": sys.argv,
        "path": sys.path,
        "folder": str(Path.cwd()),
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }


def remote_jobs(
    config: DictConfig,
    context: HydraContext,
    function: TaskFunction,
    job_overrides: Sequence[Sequence[str]],
    initial_job_idx: int,
) -> Iterator[RemoteJob]:
    """The jobs of one call of a launcher; see ``RemoteJob``, and Hydra's ``Launcher.launch`` for the last two."""
    process = _process_state()
    for number, overrides in enumerate(job_overrides, initial_job_idx):
        composed = context.config_loader.load_sweep_config(config, list(overrides))
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        folder = Path(str(composed.hydra.sweep.dir), str(composed.hydra.sweep.subdir)).absolute()
        yield RemoteJob(number, list(overrides), folder, composed, context, function, process)


def without_hydra(overrides: list[str]) -> list[str]:
    """A job's overrides without Hydra's own."""
    return [override for override in overrides if not override.startswith(("hydra.", "hydra/"))]


def fail_lost_job(job: RemoteJob, reason: str) -> JobReturn:
    """The result of a job whose process died; writes the reason into its folder, unless it had finished."""
    if read(job.folder).state != State.finished:
        record.fail(job.folder, without_hydra(job.overrides), reason)
        print(f"error: job {job.folder.name}: {reason}", file=sys.stderr, flush=True)
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
