"""One job, alone or of a multirun: checked first, then the heavy part is imported and run."""

import atexit
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from distill.cli.claim import CONFIG, claim, discard, task_overrides, user_config_dir
from distill.cli.commands import fail, wants_traceback
from distill.config import command_line, named_models, own_code, paths, schema
from distill.config.explain import explain
from distill.config.trust import Trust
from distill.sweeps import hydra_callback, record
from distill.sweeps.jobs import SUMMARY, State, read
from distill.training.flows import check
from distill.utils import processes, run_lock
from distill.utils.errors import Interrupted, Pruned, UserError, names_the_system_takes
from distill.utils.invocation import invocation
from distill.utils.logging import LEVELS, setup_logging
from distill.utils.run_lock import STATUS

log = logging.getLogger(__name__)

Release = Callable[[], None]


def job(cfg: DictConfig, trust: Trust | None = None) -> Any:
    """One job, alone or of a multirun; the process that writes holds the lock of the run's folder.

    Args:
        cfg: the composed configuration.
        trust: what it may name, where it continues a folder; None: all.
    """
    hydra = HydraConfig.get()
    folder = Path(os.path.relpath(hydra.runtime.output_dir))
    sweep = hydra.mode == RunMode.MULTIRUN
    if not processes.is_rank_zero():
        return _prepared(cfg, folder, trust, sweep=False)()
    try:
        with run_lock.hold(folder) as release:
            return (_job_of_sweep if sweep else _single_job)(cfg, folder, trust, release)
    except run_lock.Busy as error:
        if not sweep:
            raise
        log.warning(f"job {folder.name}: {error}")  # it is no failure, and theirs to end


def _single_job(cfg: DictConfig, folder: Path, trust: Trust | None, release: Release) -> Any:
    is_new = not (folder / CONFIG).exists()
    record.write_status(folder)
    try:
        try:
            train = _prepared(cfg, folder, trust, sweep=False, release=release)
        except UserError:
            if is_new:
                discard(folder)
            raise
        return train()
    except Interrupted as stop:
        again = command_line.continuing(command_line.RESUME, folder, task_overrides(), user_config_dir())
        raise KeyboardInterrupt(f"{stop}; continue with: {invocation('train', *again)}") from stop
    finally:
        (folder / STATUS).unlink(missing_ok=True)


def _job_of_sweep(cfg: DictConfig, folder: Path, trust: Trust | None, release: Release) -> Any:
    """One job of a multirun: what goes wrong stays in its folder (``failure.json``), and the others go on."""
    hydra = HydraConfig.get()
    finished = read(folder).state == State.finished
    record.clear(folder)
    record.write_status(folder)
    try:
        return _prepared(cfg, folder, trust, sweep=True, release=release)()
    except Exception as error:
        if isinstance(error, OmegaConfBaseException):
            error = UserError(explain(error))
        reason = record.fail(folder, list(hydra.overrides.task), error)
        if wants_traceback():
            traceback.print_exception(error)
        log.error(f"job {folder.name}: {reason}")
        return None
    finally:
        (folder / STATUS).unlink(missing_ok=True)
        gc.collect()  # the next job in this process may need the memory
        if hydra_callback.current_sweep is not None and not finished:  # other launchers print it themselves
            setup_logging(cfg.log_level if cfg.log_level in LEVELS else "info")  # which may be what was refused
            log.info(record.progress(hydra_callback.current_sweep, folder))


@names_the_system_takes()
def _prepared(
    cfg: DictConfig, folder: Path, trust: Trust | None, sweep: bool, release: Release = lambda: None
) -> Callable[[], Any]:
    """What runs one job: the configuration is checked, then the heavy part is imported, and its objects are built.

    ``release`` gives the folder's lock to another process, where that one trains.
    """
    named_models.expand(cfg)
    paths.expand_home(cfg)
    own_code.add(cfg.code)
    if cfg.code is None:
        cfg.code = user_config_dir()
    if trust is not None:
        with importing():
            trust.check(OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    settings = schema.typed(cfg)
    check(settings)
    quiet = hydra_callback.current_sweep is not None and settings.log_level == "info"  # a line per job is enough
    setup_logging("warning" if quiet else settings.log_level)
    if processes.inside() and processes.OURS not in os.environ:
        _check_torchrun(sweep)
    if processes.is_rank_zero() and processes.OURS not in os.environ:
        if claim(cfg, folder, sweep) and cfg.resume is None:
            cfg.resume = str(folder)
        if read(folder).summary is not None:
            log.info(f"{folder} is finished already: its results are in {folder / SUMMARY}")
            return lambda: None
        if (folder / SUMMARY).exists():
            log.warning(f"{folder / SUMMARY} was damaged: it is written again")
        log.info(f"plan: results in {folder}")  # said before the heavy imports
    count = processes.count(settings.trainer.devices)
    if count > 1 and not processes.inside():
        release()
        return partial(_in_processes, count, cfg, folder, sweep, quiet)
    with importing():
        from distill.sweeps.lightning_callbacks import trainer_callbacks
        from distill.training.prepare import prepare

    return partial(_train, prepare(cfg, folder, partial(trainer_callbacks, folder)), folder)


@names_the_system_takes()
def _train(experiment: Any, folder: Path) -> Any:
    """Runs a job's experiment."""
    from distill.training.pipeline import run

    try:
        return run(experiment)
    except Pruned as stop:
        if processes.is_rank_zero():
            record.prune(folder, stop.epoch, stop.score)
        log.info(stop)
        return None
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
        if stop.code is None:  # Lightning's SIGTERMException, from an evaluation after the training
            raise Interrupted("stopped by SIGTERM") from stop
        raise


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


def _in_processes(count: int, cfg: DictConfig, folder: Path, sweep: bool, quiet: bool) -> None:
    """Runs the job in one process per device, all in the same folder."""
    from distill.utils.launcher import failure_reason, launch

    config_dir = user_config_dir()
    arguments = [*(["--config-dir", config_dir] if config_dir else []), *task_overrides()]
    if cfg.resume is not None:
        arguments.append(f"{command_line.RESUME}={paths.quoted(cfg.resume)}")
    arguments.append(f"hydra.run.dir={paths.quoted(folder)}")
    arguments += [] if cfg.load_best_model_at_end else ["load_best_model_at_end=false"]  # of a resumed run
    arguments += ["log_level=warning"] if quiet else []
    status = launch(count, arguments, folder, log_rank_zero=sweep)
    if status == 130 and sweep:
        raise KeyboardInterrupt
    if status and sweep:
        raise UserError(failure_reason(status, folder))
    if status in (1, 130):  # the first process has said why
        sys.exit(status)
    if status:
        fail(failure_reason(status, folder))
