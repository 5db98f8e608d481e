"""One job, alone or of a multirun: checked first, then the heavy part is imported and run."""

import atexit
import gc
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill.cli.claim import claim, task_overrides, user_config_dir
from distill.cli.commands import fail, wants_traceback
from distill.config import command_line, named_models, schema
from distill.config.explain import explain_value
from distill.sweeps import hydra_callback, record
from distill.sweeps.jobs import STATUS, SUMMARY, State, read
from distill.training.flows import check
from distill.utils import processes
from distill.utils.errors import Interrupted, Pruned, UserError
from distill.utils.invocation import invocation
from distill.utils.logging import setup_logging

log = logging.getLogger(__name__)


def job(cfg: DictConfig) -> Any:
    """One job, alone or of a multirun."""
    hydra = HydraConfig.get()
    folder = Path(os.path.relpath(hydra.runtime.output_dir))
    if hydra.mode == RunMode.MULTIRUN:
        return _job_of_sweep(cfg, folder)
    try:
        return _run(cfg, folder, sweep=False)
    except OmegaConfBaseException as error:
        raise UserError(explain_value(error)) from error
    except Interrupted as stop:
        resume = f"resume={command_line.hydra_value(str(folder))}"
        raise KeyboardInterrupt(f"{stop}; continue with: {invocation('train', resume)}") from stop
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
        raise
    finally:
        (folder / STATUS).unlink(missing_ok=True)


def _job_of_sweep(cfg: DictConfig, folder: Path) -> Any:
    """One job of a multirun: what goes wrong stays in its folder (``failure.json``), and the others go on."""
    hydra = HydraConfig.get()
    finished = read(folder).state == State.finished
    record.clear(folder)
    record.write_status(folder)
    try:
        return _run(cfg, folder, sweep=True)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if isinstance(error, OmegaConfBaseException):
            error = UserError(explain_value(error))
        reason = record.fail(folder, list(hydra.overrides.task), error)
        if wants_traceback():
            traceback.print_exception(error)
        log.error(f"job {folder.name}: {reason}")
        return None
    finally:
        (folder / STATUS).unlink(missing_ok=True)
        gc.collect()  # the next job in this process may need the memory
        if hydra_callback.current_sweep is not None and not finished:  # other launchers print it themselves
            log.info(record.progress(hydra_callback.current_sweep))


def _run(cfg: DictConfig, folder: Path, sweep: bool) -> Any:
    """One job: the configuration is checked, then the heavy part is imported and run."""
    named_models.expand(cfg)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    settings = schema.typed(resolved)
    check(settings)
    setup_logging(settings.log_level)
    if processes.inside() and processes.OURS not in os.environ:
        _check_torchrun(sweep)
    if processes.is_rank_zero() and processes.OURS not in os.environ:
        if claim(resolved, folder, sweep) and cfg.resume is None:
            cfg.resume = str(folder)
        if (folder / SUMMARY).exists():
            log.info(f"{folder} is finished already: its results are in {folder / SUMMARY}")
            return None
    count = processes.count(resolved["trainer"])
    if count > 1 and not processes.inside():
        return _in_processes(count, cfg, folder, sweep)
    with importing():
        from distill.sweeps.lightning_callbacks import trainer_callbacks
        from distill.training.pipeline import run
        from distill.training.prepare import prepare

    try:
        return run(prepare(cfg, folder, partial(trainer_callbacks, folder)))
    except Pruned as stop:
        if processes.is_rank_zero():
            record.prune(folder, stop.epoch, stop.accuracy)
        log.info(stop)
        return None


@contextmanager
def importing() -> Iterator[None]:
    """The first import of torch and its like, a tenth faster: the garbage collector looks at nothing they make.

    Nor does it later: hundreds of thousands of objects stay, and every job of a sweep ends with a collection.
    """
    if "torch" in sys.modules:
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
        atexit.register(gc.unfreeze)  # at the end some libraries count what is left of theirs


def _check_torchrun(sweep: bool) -> None:
    """Checks what processes that torchrun started must have in common."""
    if sweep:
        raise UserError("torchrun starts one run; a multirun starts its jobs' processes itself: trainer.devices=N")
    if not any(o.startswith("hydra.run.dir=") for o in HydraConfig.get().overrides.hydra):
        raise UserError("torchrun's processes share one folder: name it with hydra.run.dir=<folder>")


def _in_processes(count: int, cfg: DictConfig, folder: Path, sweep: bool) -> None:
    """Runs the job in one process per device, all in the same folder."""
    config_dir = user_config_dir()
    flags = ["--config-dir", config_dir] if config_dir else []
    again = task_overrides()
    again += [f"{command_line.RESUME}={command_line.quoted(cfg.resume)}"] if cfg.resume is not None else []
    from distill.utils.launcher import failure_reason, launch

    arguments = [*flags, *again, f"hydra.run.dir={command_line.quoted(folder)}"]
    status = launch(count, arguments, folder, log_rank_zero=sweep)
    if status == 130 and sweep:
        raise KeyboardInterrupt
    if status and sweep:
        raise UserError(failure_reason(status, folder))
    if status in (1, 130):  # the first process has said why
        sys.exit(status)
    if status:
        fail(failure_reason(status, folder))
