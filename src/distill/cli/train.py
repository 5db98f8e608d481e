"""``python train.py``: the main job, alone or as a multirun. Nothing heavy is imported here."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distill.cli.commands import TRACEBACK, broken_pipe, fail, wants_traceback
from distill.cli.job import job
from distill.config import command_line, schema
from distill.config.compose import CONF
from distill.config.explain import explain
from distill.sweeps import hydra_callback, record
from distill.utils import invocation, processes
from distill.utils.errors import Interrupted, UserError, first_line
from distill.utils.logging import setup_logging

log = logging.getLogger(__name__)

FULL_ERROR = "HYDRA_FULL_ERROR"


def execute(arguments: Sequence[str]) -> Path:
    """Runs one job, or each job of a multirun, in this process.

    Args:
        arguments: of the command line.

    Returns:
        The folder of the run, or of the sweep.

    Raises:
        UserError: a mistake in the configuration, the data or the models.
        HydraException, OmegaConfBaseException: a configuration that cannot be composed.
        hydra_callback.SweepRefused: a multirun that must not begin.
    """
    folders: list[Path] = []
    errors: list[UserError] = []

    @hydra.main(version_base="1.3", config_path="pkg://distill.conf", config_name="train")
    def run(cfg: DictConfig) -> Any:
        folders.append(Path(os.path.relpath(HydraConfig.get().runtime.output_dir)))
        try:
            return job(cfg)
        except UserError as error:  # Hydra would add a line
            errors.append(error)

    schema.register()
    setup_logging()
    hydra_callback.current_sweep = None
    sys.argv[1:] = _current_names(command_line.resumed(arguments))
    _warn_hidden(sys.argv[1:])
    try:
        run()
        if errors:
            raise errors[0]
    except (UserError, HydraException, OmegaConfBaseException):
        hydra_callback.restore_sweep_record()
        raise
    return hydra_callback.current_sweep or (folders or [Path()])[0]


def main() -> None:
    """The command: errors become one line and a status, unless ``HYDRA_FULL_ERROR=1`` asks for tracebacks."""
    _set_up_process()
    os.environ.setdefault(TRACEBACK, os.environ.get(FULL_ERROR, "0"))
    os.environ[FULL_ERROR] = "1"  # Hydra then raises instead of printing, and the lines below are the only ones
    try:
        execute(sys.argv[1:])
        sweep = hydra_callback.current_sweep
        if sweep is not None and (problem := record.verdict(sweep)) is not None:
            fail(problem)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback():
            raise
        fail(str(error) if isinstance(error, UserError) else explain(error))
    except hydra_callback.SweepRefused as error:
        fail(str(error))
    except (KeyboardInterrupt, Interrupted) as error:
        train = invocation.invocation("train")
        sweep = hydra_callback.current_sweep
        again = f"; continue with: {train} -m sweep.resume={sweep}" if sweep else ""
        fail(f"{str(error) or 'interrupted'}{again}", status=130)
    except BrokenPipeError:
        raise SystemExit(broken_pipe()) from None
    except Exception as error:
        if wants_traceback() or HydraConfig.initialized():  # a job had begun: no mistake in the command line
            raise
        fail(first_line(error))


def _set_up_process() -> None:
    """What processes that this one starts, or that started it, have to know."""
    if processes.OURS in os.environ:
        sys.argv[0] = os.environ.get(invocation.STARTED_AS, sys.argv[0])
        processes.set_up_launched()
    else:
        invocation.remember()
    if not processes.is_rank_zero():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def _current_names(arguments: list[str]) -> list[str]:
    """Replaces keys of earlier versions, with a warning."""
    current = [command_line.current_name(argument) for argument in arguments]
    if changed := [(old, new) for old, new in zip(arguments, current, strict=True) if old != new]:
        pairs = ", ".join(f"{old.partition('=')[0]} is {new.partition('=')[0]} now" for old, new in changed)
        log.warning(pairs)
    return current


def _warn_hidden(arguments: list[str]) -> None:
    """Hydra prefers the built-in of two files with one name: warns of it."""
    folder = command_line.config_dir(arguments)
    for file in sorted(Path(folder).rglob("*.yaml")) if folder else []:
        twin = CONF / file.relative_to(str(folder))
        if twin.exists():
            log.warning(f"{file} is hidden by the built-in {twin.name}; give it another name")
