"""The commands as functions, for scripts and notebooks: they return results and raise instead of exiting."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from distill.config.command_line import Overrides, as_overrides, hydra_value, quoted
from distill.training.summary import RunSummary, read
from distill.utils.errors import UserError


@contextmanager
def _called_as_command(arguments: list[str]) -> Iterator[None]:
    """Set the process up as the command ``distill train`` does, and restore what a script may rely on afterwards."""
    import torch
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from distill.cli.train import FULL_ERROR
    from distill.utils import invocation

    argv, environment, threads = sys.argv, dict(os.environ), torch.get_num_threads()
    loggers = [logging.getLogger(), logging.getLogger("distill")]
    logging_state = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    hydra, hydra_config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    sys.argv = ["distill train", *arguments]
    invocation.remember()
    os.environ[FULL_ERROR] = "1"  # Hydra raises instead of printing
    try:
        with warnings.catch_warnings():
            yield
    finally:
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)
        for logger, (handlers, level, propagate) in zip(loggers, logging_state, strict=True):
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        GlobalHydra.instance().clear()
        if hydra is not None:
            GlobalHydra.instance().initialize(hydra)
        HydraConfig.instance().cfg = hydra_config


def _run(arguments: list[str]) -> Path:
    """Runs the training command in this process.

    Returns:
        The folder of the run, or of the sweep.

    Raises:
        UserError: a mistake in the configuration, the data or the models.
    """
    from hydra.errors import HydraException

    from distill.cli.train import execute
    from distill.config.explain import explain, explain_value
    from distill.sweeps import hydra_callback

    with _called_as_command(arguments):
        try:
            return execute(arguments)
        except hydra_callback.SweepRefused as error:
            raise UserError(str(error)) from None
        except HydraException as error:
            raise UserError(explain(error)) from error
        except OmegaConfBaseException as error:
            raise UserError(explain_value(error)) from error
        except SystemExit as error:  # of a job in several processes, whose first process has printed why
            raise UserError(f"the run ended with status {error.code}: its processes print why") from error


def _refuse_flags(arguments: list[str]) -> None:
    """A UserError for an argument of the command line that is no override."""
    if flag := next((argument for argument in arguments if argument.startswith("-")), None):
        raise UserError(f"{flag} is no override: a multirun is distill.sweep, --config-dir is config_dir=")


def train(
    overrides: Overrides = (), *, output_dir: str | Path | None = None, config_dir: str | Path | None = None
) -> RunSummary:
    """Trains a teacher, distils it into a student and compares the two: ``distill train`` as a function.

    Args:
        overrides: as on the command line (``["model=resnet8", "kd.T=4"]``), or as a mapping
            (``{"model": "resnet8", "kd.T": 4}``).
        output_dir: the run's folder; None: ``outputs/<date>/<time>``.
        config_dir: a folder with your YAML files, as ``--config-dir``.

    Returns:
        What ``summary.json`` of the run holds, typed.

    Raises:
        UserError: a mistake in the configuration, the data or the models, in one line.

    Example:
        >>> import distill
        >>> summary = distill.train(["model=resnet8", "teacher=resnet20", "kd.T=4"])  # doctest: +SKIP
        >>> summary.student.last.test.acc  # doctest: +SKIP
        0.9916
    """
    arguments = as_overrides(overrides)
    _refuse_flags(arguments)
    if output_dir is not None:
        arguments.append(f"hydra.run.dir={quoted(output_dir)}")
    folder = _run([*(["--config-dir", str(config_dir)] if config_dir is not None else []), *arguments])
    return read(folder)


@dataclass(frozen=True)
class Sweep:
    """What a sweep left.

    Attributes:
        folder: with a folder per job, ``results.csv`` and ``report.html``.
        runs: the summaries of the jobs that finished, in the order of their numbers.
        failures: the reason of every job that failed, by its number.
    """

    folder: Path
    runs: list[RunSummary]
    failures: dict[int, str]


def sweep(
    overrides: Overrides = (),
    over: Mapping[str, Sequence[Any]] | None = None,
    *,
    output_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
) -> Sweep:
    """Runs every combination of the values of several keys: ``distill train -m`` as a function.

    Args:
        overrides: as of :func:`train`; those of a list may have several values (``["kd.T=1,2,4"]``).
        over: the values of each swept key (``{"kd.T": [1, 2, 4], "seed": [0, 1]}``).
        output_dir: the sweep's folder; None: ``outputs/sweeps/<date>/<time>``.
        config_dir: a folder with your YAML files, as ``--config-dir``.

    Raises:
        UserError: a mistake in the configuration. A job that fails is no error of the others: see :class:`Sweep`.
    """
    arguments = as_overrides(overrides)
    _refuse_flags(arguments)
    for key, values in (over or {}).items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"over[{key!r}] must list the values of the key, got {values!r}")
        arguments.append(f"{key}={','.join(map(hydra_value, values))}")
    if output_dir is not None:
        arguments.append(f"hydra.sweep.dir={quoted(output_dir)}")
    flags = ["--multirun", *(["--config-dir", str(config_dir)] if config_dir is not None else [])]
    folder = _run([*flags, *arguments])
    from distill.sweeps.jobs import State, jobs

    ended = jobs(folder)
    runs = [read(job.folder) for job in ended if job.state == State.finished]
    failures = {
        int(job.folder.name): (job.failure or {}).get("reason", "")
        for job in ended
        if job.state == State.failed and job.folder.name.isdigit()
    }
    return Sweep(folder, runs, failures)
