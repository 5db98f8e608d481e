"""Hydra's hooks at the start and at the end of a multirun."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from distill.config import command_line
from distill.config.command_line import RECORD, SWEEP
from distill.config.key_sets import FREE
from distill.sweeps import record
from distill.sweeps.jobs import folders, load, settings
from distill.utils.atomic import write_text
from distill.utils.errors import UserError

LOCK = ".launcher.lock"  # in a sweep's folder: one command at a time runs a grid
PATIENCE_S = 15.0  # for what a killed command leaves behind (workers that load data) to end, and the lock with it

current: Path | None = None  # the folder of the sweep that this process has begun
_before: str | None = None  # its ``sweep.yaml`` of earlier
_lock: Any = None  # held until this process ends


class Refused(BaseException):
    """A multirun that must not begin. Hydra makes a warning of any other exception of a callback."""


def undo() -> None:
    """Puts back the ``sweep.yaml`` that a wrong command would have continued; takes away what it has begun in vain."""
    if current is None:
        return
    if _before is not None:
        write_text(current / SWEEP, _before)
    elif not any(folders(current)):
        for name in (SWEEP, "multirun.yaml", LOCK):
            (current / name).unlink(missing_ok=True)
        with suppress(OSError):  # something else is there
            current.rmdir()


def grid(overrides: list[str], sweeper: dict[str, Any]) -> list[list[str]] | None:
    """The overrides of every job of a multirun with Hydra's own sweeper, in their order; None where it takes them not.

    Example:
        >>> grid(["kd.T=1,2", "seed=range(0,2)"], {})
        [['kd.T=1', 'seed=0'], ['kd.T=1', 'seed=1'], ['kd.T=2', 'seed=0'], ['kd.T=2', 'seed=1']]
    """
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None  # for glob(*)
    parsed = OverridesParser.create(loader).parse_overrides([*params, *overrides])
    last = {override.get_key_element(): override for override in parsed}
    if not all(one.is_discrete_sweep() for one in last.values() if one.is_sweep_override()):
        return None
    return BasicSweeper.split_arguments(list(last.values()), None)[0]


def total(overrides: list[str], sweeper: dict[str, Any]) -> int | None:
    """How many jobs a multirun has: the product of its choices, or the sweeper's ``n_trials``.

    Returns:
        None where nobody knows, as of a search with a ``storage`` where other commands may run some of the trials.

    Example:
        >>> total(["kd.T=1,2,4", "seed=range(0,2)", "kd=none"], {})
        6
    """
    if "n_trials" in sweeper:
        trials = sweeper["n_trials"]
        return trials if isinstance(trials, int) and sweeper.get("storage") is None else None
    jobs = grid(overrides, sweeper)
    return None if jobs is None else len(jobs)


def check_same(sweep: Path, jobs: list[list[str]]) -> None:
    """Refuses a grid whose jobs are others than those that the sweep's folder holds under their numbers.

    Raises:
        UserError: so it is.
    """
    for number, overrides in enumerate(jobs):
        folder = sweep / str(number)
        if not (folder / "config.yaml").is_file():  # not begun, or refused before it was
            continue
        old, new = settings((load(folder / RECORD) or {}).get("overrides") or []), settings(overrides)
        for key in dict.fromkeys([*new, *old]):
            was, now = (f"{key}={found[key]}" if key in found else f"no {key}" for found in (old, new))
            if was != now and not key.startswith(FREE):
                raise UserError(
                    f"{sweep} holds other jobs: number {number} has {was}, and would have {now} now; more values fit "
                    "at the end of the first swept key only; for another grid choose another hydra.sweep.dir"
                )


def _alone(sweep: Path) -> None:
    """Takes the sweep's folder for this process.

    Raises:
        UserError: another one runs it.
    """
    from filelock import FileLock, Timeout  # a tenth of what --help takes

    global _lock
    sweep.mkdir(parents=True, exist_ok=True)
    _lock = FileLock(sweep / LOCK)
    try:
        _lock.acquire(timeout=PATIENCE_S)
    except Timeout as error:
        raise UserError(f"{sweep} is being run by another command: wait for it, or stop it first") from error
    except (OSError, NotImplementedError):  # a file system without locks
        _lock = None


class SweepRecord(Callback):
    """Writes ``sweep.yaml`` before the first job, and the report after the last one."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Once, in the process that launches the jobs.

        Raises:
            Refused: another command runs this sweep, or its folder holds other jobs.
        """
        global current, _before
        HydraConfig.instance().set_config(config)
        sweep = Path(os.path.relpath(config.hydra.sweep.dir))
        sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
        command = command_line.record(sys.argv[1:])
        if "n_trials" not in sweeper:  # several commands may share a search
            try:
                _alone(sweep)
                check_same(sweep, grid(list(config.hydra.overrides.task), sweeper) or [])
            except UserError as error:
                raise Refused(str(error)) from error
        current = sweep
        _before = (current / SWEEP).read_text() if (current / SWEEP).is_file() else None
        launcher = str(config.hydra.runtime.choices.get("hydra/launcher"))
        record.begin(current, command, launcher, total(command["overrides"], sweeper))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Once, in the same process."""
        if current is not None:
            from distill.sweeps.report.files import report_at_end

            report_at_end(current)
