"""Hydra's hooks at the start and at the end of a multirun."""

import logging
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
from distill.sweeps.jobs import load, overrides_by_key, run_folders
from distill.utils import run_lock
from distill.utils.atomic import write_text
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

LOCK_FILE = ".launcher.lock"  # in a sweep's folder: one command at a time runs a grid

current_sweep: Path | None = None  # the folder of the sweep that this process has begun
_previous_record: str | None = None  # the content of its ``sweep.yaml`` before
_lock: Any = None  # held until this process ends


class SweepRefused(BaseException):
    """A multirun that must not begin. Hydra makes a warning of any other exception of a callback."""


def restore_sweep_record() -> None:
    """Restores the ``sweep.yaml`` that a wrong command has overwritten; removes a folder without jobs."""
    if current_sweep is None:
        return
    if _previous_record is not None:
        write_text(current_sweep / SWEEP, _previous_record)
    elif not any(run_folders(current_sweep)):
        for name in (SWEEP, "multirun.yaml", LOCK_FILE):
            (current_sweep / name).unlink(missing_ok=True)
        with suppress(OSError):  # something else is there
            current_sweep.rmdir()


def grid(overrides: list[str], sweeper: dict[str, Any]) -> list[list[str]] | None:
    """The overrides of every job of a multirun with Hydra's basic sweeper, in order; None where it refuses them.

    Example:
        >>> grid(["kd.T=1,2", "seed=range(0,2)"], {})
        [['kd.T=1', 'seed=0'], ['kd.T=1', 'seed=1'], ['kd.T=2', 'seed=0'], ['kd.T=2', 'seed=1']]
    """
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None  # for glob(*)
    parsed = OverridesParser.create(loader).parse_overrides([*params, *overrides])
    last = {override.get_key_element(): override for override in parsed}
    if not all(override.is_discrete_sweep() for override in last.values() if override.is_sweep_override()):
        return None
    return BasicSweeper.split_arguments(list(last.values()), None)[0]


def count_jobs(overrides: list[str], sweeper: dict[str, Any]) -> int | None:
    """How many jobs a multirun has: the product of its choices, or the sweeper's ``n_trials``.

    Returns:
        None where it is unknown, as of a search with a ``storage`` where other commands may run some of the trials.

    Example:
        >>> count_jobs(["kd.T=1,2,4", "seed=range(0,2)", "kd=none"], {})
        6
    """
    if "n_trials" in sweeper:
        trials = sweeper["n_trials"]
        return trials if isinstance(trials, int) and sweeper.get("storage") is None else None
    jobs = grid(overrides, sweeper)
    return None if jobs is None else len(jobs)


def check_same_jobs(sweep: Path, jobs: list[list[str]]) -> None:
    """Refuses (``UserError``) a grid whose jobs differ from those that the sweep's folder holds under their numbers."""
    for number, overrides in enumerate(jobs):
        folder = sweep / str(number)
        if not (folder / "config.yaml").is_file():  # not begun, or refused before it was
            continue
        old = overrides_by_key((load(folder / RECORD) or {}).get("overrides") or [])
        new = overrides_by_key(overrides)
        for key in dict.fromkeys([*new, *old]):
            was, now = (f"{key}={values[key]}" if key in values else f"no {key}" for values in (old, new))
            if was != now and not key.startswith(FREE):
                raise UserError(
                    f"{sweep} holds other jobs: number {number} has {was}, and would have {now} now; more values fit "
                    "at the end of the first swept key only; for another grid choose another hydra.sweep.dir"
                )


class SweepRecord(Callback):
    """Writes ``sweep.yaml`` before the first job, and the report after the last one."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuses the multirun where another command runs this sweep, or its folder holds other jobs."""
        global current_sweep, _previous_record, _lock
        HydraConfig.instance().set_config(config)
        sweep = Path(os.path.relpath(config.hydra.sweep.dir))
        sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
        command = command_line.record(sys.argv[1:])
        given: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # a value may name no key
        if "n_trials" not in sweeper:  # several commands may share a search
            try:
                refusal = f"{sweep} is being run by another command: wait for it, or stop it first"
                _lock = run_lock.acquire(sweep / LOCK_FILE, refusal)
                check_same_jobs(sweep, grid(given, sweeper) or [])
            except UserError as error:
                raise SweepRefused(str(error)) from error
        try:
            _previous_record = (sweep / SWEEP).read_text() if (sweep / SWEEP).is_file() else None
            launcher = str(config.hydra.runtime.choices.get("hydra/launcher"))
            total = count_jobs(command["overrides"], sweeper)
            record.begin(sweep, command, launcher, total)
        except (UserError, ValueError) as error:  # it cannot be written, or was damaged
            raise SweepRefused(str(error)) from error
        current_sweep = sweep
        log.info(f"plan: {total or 'many'} jobs in {sweep}; a line as each ends, with its score on validation")
        logging.getLogger("hydra._internal.core_plugins.basic_launcher").setLevel(
            logging.WARNING
        )  # a line at each start

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        if current_sweep is not None:
            from distill.sweeps.report.files import report_at_end

            report_at_end(current_sweep)
