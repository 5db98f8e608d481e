"""``python train.py``: the main job, alone or as a multirun. Nothing heavy is imported here."""

import logging
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distill.cli.commands import HELP, TRACEBACK, fail, one_line_errors, show
from distill.cli.job import job
from distill.config import CONF, command_line, limits, own_code, paths, schema, sweep_values, trust, yaml_files
from distill.config.compose import ERRORS
from distill.config.explain import check_flags, explain
from distill.config.help_text import help_text
from distill.sweeps import hydra_callback, jobs, record
from distill.utils import invocation, processes
from distill.utils.errors import Interrupted, UserError, first_line, one_line
from distill.utils.logging import setup_logging

log = logging.getLogger(__name__)

FULL_ERROR = "HYDRA_FULL_ERROR"
VERBOSE = ("-v", "--verbose")  # stand for log_level=debug


def execute(arguments: Sequence[str]) -> Path:
    """Runs one job, or each job of a multirun, in this process.

    Returns:
        The folder of the run, or of the sweep.

    Raises:
        UserError: a mistake in the configuration, the data or the models; a multirun that must not begin.
    """
    folders: list[Path] = []
    errors: list[UserError | OmegaConfBaseException] = []

    @hydra.main(version_base="1.3", config_path="pkg://distill.conf", config_name="train")
    def run(cfg: DictConfig) -> Any:
        folders.append(Path(os.path.relpath(HydraConfig.get().runtime.output_dir)))
        try:
            return job(cfg, trusted)
        except (UserError, OmegaConfBaseException) as error:  # Hydra would add a line
            errors.append(error)

    schema.register()
    setup_logging()
    hydra_callback.current_sweep = None
    multirun = any(argument in command_line.MULTIRUN for argument in arguments)
    limits.check(arguments)
    arguments = ["log_level=debug" if argument in VERBOSE else argument for argument in arguments]
    arguments, trusted = _resumed(paths.readable(arguments, multirun))
    sys.argv[1:] = command_line.with_new_terms(arguments)
    own_code.add(*_code_folders(sys.argv[1:], trusted))
    check_flags(sys.argv[1:])
    sweep_values.check(command_line.split(sys.argv[1:])[1])
    yaml_files.check(command_line.config_dir(sys.argv[1:]))
    _warn_hidden(sys.argv[1:])
    try:
        run()
        if errors:
            raise errors[0]
    except UserError:
        hydra_callback.restore_sweep_record()
        raise
    except ERRORS as error:
        hydra_callback.restore_sweep_record()
        raise UserError(explain(error)) from error
    except ValueError as error:
        if folders and "configure handler" not in str(error):  # of a job, not of its configuration or its log
            raise
        hydra_callback.restore_sweep_record()
        raise UserError(explain(error)) from error
    except RecursionError as error:
        if folders:
            raise
        raise UserError("the configuration is nested deeper than it can be read") from error
    except hydra_callback.SweepRefused as error:
        raise UserError(str(error)) from error
    return hydra_callback.current_sweep or (folders or [Path()])[0]


@one_line_errors()
def main() -> None:
    """The command: errors become one line and a status, unless ``HYDRA_FULL_ERROR=1`` asks for tracebacks."""
    _set_up_process()
    os.environ.setdefault(TRACEBACK, os.environ.get(FULL_ERROR, "0"))
    os.environ[FULL_ERROR] = "1"  # Hydra then raises instead of printing, and the lines below are the only ones
    try:
        if any(argument in HELP for argument in sys.argv[1:]):
            return show(_help(sys.argv[1:]))
        execute(sys.argv[1:])
        sweep = hydra_callback.current_sweep
        if sweep is not None and (problem := record.verdict(sweep)) is not None:
            fail(problem)
    except (KeyboardInterrupt, Interrupted) as error:
        sweep = hydra_callback.current_sweep
        again = f"; continue with: {jobs.again(sweep)}" if sweep else ""
        fail(f"{str(error) or 'interrupted'}{again}", status=130)
    except (UserError, BrokenPipeError):
        raise
    except Exception as error:
        if HydraConfig.initialized():  # a job had begun: no mistake in the command line
            raise
        raise UserError(_worded(error)) from error


def _worded(error: Exception) -> str:
    """The message for an error of Hydra's before a job, some of which say nothing."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {one_line(error)}"
    keys = [word.partition("=")[0] for word in sys.argv[1:] if re.match(r"[+~]*hydra[./]", word)]
    silent = keys and first_line(error) == type(error).__name__
    return f"Hydra does not take the value of {' or '.join(keys)}" if silent else first_line(error)


def _help(arguments: Sequence[str]) -> str:
    """The text of ``--help``, under the other choices of the command line."""
    limits.check(arguments)
    flags, overrides = command_line.split([argument for argument in arguments if argument not in HELP])
    check_flags([flag for flag in flags if flag not in VERBOSE])
    folder = command_line.config_dir(flags)
    try:
        return help_text(paths.readable(overrides, multirun=False), [Path(folder)] if folder else [])
    except ERRORS as error:
        raise UserError(explain(error)) from error


def _set_up_process() -> None:
    """What processes that this one starts, or that started it, have to know."""
    if processes.OURS in os.environ:
        sys.argv[0] = os.environ.get(invocation.STARTED_AS, sys.argv[0])
        processes.set_up_launched()
    else:
        invocation.remember()
    if not processes.is_rank_zero():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def _resumed(arguments: Sequence[str]) -> tuple[list[str], trust.Trust | None]:
    """The command that ``resume=`` stands for, and what may be named by the folder that it continues.

    Raises:
        UserError: see :func:`distill.config.command_line.resumed`; ``trust=`` without a folder.
    """
    own = [argument for argument in arguments if not argument.startswith(f"{trust.KEY}=")]
    modules = trust.modules(",".join(arg.partition("=")[2].strip("[]") for arg in arguments if arg not in own) or None)
    if processes.OURS in os.environ:  # the process that started this one has done the same
        return _current_names(own), None
    command, record_file = command_line.resumed(own)
    if record_file is None:
        if modules:
            raise UserError(f"{trust.KEY}= belongs to resume=: what a command names itself is trusted")
        return _current_names(command), None
    code = {own_code.KEY: own_code.given(command)}
    if own_code.given(own) is None and not (modules and own_code.recorded(code, record_file.parent)):
        command = [word for word in command if not word.startswith(f"{own_code.KEY}=")]
    folder = command_line.config_dir(own)
    files = sorted(Path(folder).rglob("*.yaml")) if folder else []
    targets = trust.named_targets([*own, *(file.read_text(encoding="utf-8", errors="replace") for file in files)])
    return _current_names(command), trust.Trust(record_file, modules, targets)


def _code_folders(arguments: Sequence[str], trusted: trust.Trust | None) -> list[str | None]:
    """Where modules of the user's own may lie; the current folder might be that of a run which somebody sent."""
    flags, overrides = command_line.split(arguments)
    mine = processes.OURS not in os.environ and (trusted is None or trusted.modules)
    return [own_code.given(overrides), command_line.config_dir(flags), "." if mine else None]


def _current_names(arguments: list[str]) -> list[str]:
    """Replaces keys of earlier versions, with a warning."""
    current = [command_line.current_name(argument) for argument in arguments]
    pairs = zip(arguments, current, strict=True)
    renamed = [f"{old.partition('=')[0]} is {new.partition('=')[0]} now" for old, new in pairs if old != new]
    if renamed:
        log.warning(", ".join(renamed))
    return current


def _warn_hidden(arguments: list[str]) -> None:
    """Hydra prefers the built-in of two files with one name: warns of it."""
    folder = command_line.config_dir(arguments)
    for file in sorted(Path(folder).rglob("*.yaml")) if folder else []:
        twin = CONF / file.relative_to(str(folder))
        if twin.exists():
            log.warning(f"{file} is hidden by the built-in {twin.name}; give it another name")
