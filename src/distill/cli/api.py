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

from distill.config.command_line import Overrides, as_overrides, hydra_value
from distill.config.paths import home, quoted
from distill.training.summary import RunSummary, read
from distill.utils.errors import UserError


@contextmanager
def _called_as_command(arguments: list[str]) -> Iterator[None]:
    """Set the process up as the command ``distill train`` does, and restore what a script may rely on afterwards."""
    import torch

    from distill.cli.train import FULL_ERROR
    from distill.config.compose import separate_hydra
    from distill.utils import invocation

    argv, path, environment, threads = sys.argv, list(sys.path), dict(os.environ), torch.get_num_threads()
    loggers = [logging.getLogger(), logging.getLogger("distill")]
    logging_state = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    sys.argv = ["distill train", *arguments]
    invocation.remember()
    os.environ[FULL_ERROR] = "1"  # Hydra raises instead of printing
    try:
        with separate_hydra(), warnings.catch_warnings():
            yield
    finally:
        sys.argv, sys.path[:] = argv, path
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)
        for logger, (handlers, level, propagate) in zip(loggers, logging_state, strict=True):
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


def _run(
    overrides: list[str],
    flags: list[str],
    folder_key: str,
    output_dir: str | Path | None,
    config_dir: str | Path | None,
) -> Path:
    """Runs the training command in this process.

    Returns:
        The folder of the run, or of the sweep.

    Raises:
        UserError: a mistake in the configuration, the data or the models.
    """
    from distill.cli.train import execute

    if flag := next((override for override in overrides if override.startswith("-")), None):
        raise UserError(f"{flag} is no override: a multirun is distill.sweep, --config-dir is config_dir=")
    if config_dir is not None:
        flags = [*flags, "--config-dir", home(str(config_dir))]
    folder = [f"{folder_key}={quoted(home(str(output_dir)))}"] if output_dir is not None else []
    arguments = [*flags, *overrides, *folder]
    with _called_as_command(arguments):
        try:
            return execute(arguments)
        except SystemExit as error:  # of a job in several processes, the first of which has printed why
            raise UserError(f"the run ended with status {error.code}: its processes print why") from error


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
        >>> summary.student.test["acc"]  # doctest: +SKIP
        0.9916
    """
    return read(_run(as_overrides(overrides), [], "hydra.run.dir", output_dir, config_dir))


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
    for key, values in (over or {}).items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"over[{key!r}] must list the values of the key, got {values!r}")
        arguments.append(f"{key}={','.join(map(hydra_value, values))}")
    folder = _run(arguments, ["--multirun"], "hydra.sweep.dir", output_dir, config_dir)
    from distill.sweeps.jobs import State, jobs

    ended = jobs(folder)
    runs = [read(job.folder) for job in ended if job.state == State.finished]
    failures = {
        int(job.folder.name): (job.failure or {}).get("reason", "")
        for job in ended
        if job.state == State.failed and job.folder.name.isdigit()
    }
    return Sweep(folder, runs, failures)
