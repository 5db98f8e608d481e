"""One job of a multirun in a process that is not the launcher's: what launchers of such processes share."""

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
    """A job that can be pickled and called anywhere where this machine's folders are; it then takes its place there.

    Attributes:
        number: the job's.
        overrides: its own.
        folder: where its results go, absolute.
        config: composed for it, Hydra's part included.
        context: Hydra's loader and callbacks.
        function: what a job calls with its configuration.
        process: of the launcher, see ``_process``.
    """

    number: int
    overrides: list[str]
    folder: Path
    config: DictConfig
    context: HydraContext
    function: TaskFunction
    process: dict[str, Any]

    def __call__(self) -> JobReturn:
        """Runs it here.

        Raises:
            Interrupted: the process was asked to stop; the job's checkpoint is written.
        """
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


def _process() -> dict[str, Any]:
    """What a job may ask of the process that it seems to run in."""
    return {
        "singletons": Singleton.get_state(),
        "argv": sys.argv,
        "path": sys.path,
        "folder": str(Path.cwd()),
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }


def prepared(
    config: DictConfig, context: HydraContext, function: TaskFunction, overrides: Sequence[Sequence[str]], first: int
) -> Iterator[RemoteJob]:
    """The jobs that a launcher was asked for.

    Args:
        config: the multirun's.
        context: see ``RemoteJob``.
        function: likewise.
        overrides: of each job.
        first: the first one's number.
    """
    process = _process()
    for number, own in enumerate(overrides, first):
        composed = context.config_loader.load_sweep_config(config, list(own))
        with open_dict(composed):
            composed.hydra.job.id = composed.hydra.job.num = number
        folder = Path(str(composed.hydra.sweep.dir), str(composed.hydra.sweep.subdir)).absolute()
        yield RemoteJob(number, list(own), folder, composed, context, function, process)


def lost(job: RemoteJob, reason: str) -> JobReturn:
    """What is left of a job whose process died: its reason in its folder, unless it had finished."""
    if read(job.folder).state != State.finished:
        record.fail(job.folder, [o for o in job.overrides if not o.startswith("hydra.")], reason)
        print(f"error: job {job.folder.name}: {reason}", file=sys.stderr, flush=True)
    return without_result(job)


def without_result(job: RemoteJob) -> JobReturn:
    """A job that gives its sweeper nothing; as one does that failed by itself."""
    return JobReturn(overrides=job.overrides, cfg=job.config, status=JobStatus.COMPLETED, _return_value=None)


def at_least(key: str, value: Any, least: float, whole: bool = False) -> None:
    """Checks a launcher's knob; null is allowed.

    Raises:
        UserError: it is no such number.
    """
    right = type(value) is int or (type(value) is float and not whole)
    if value is not None and not (right and value >= least):
        kind = "whole number" if whole else "number"
        raise UserError(f"hydra.launcher.{key} must be a {kind} from {least:g} or null, got {value!r}")
