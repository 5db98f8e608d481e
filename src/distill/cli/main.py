"""The front of the command line: quick answers, one-line errors, Ctrl-C. Nothing heavy is imported here."""

import atexit
import gc
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from distill.config import command_line, named_models, schema
from distill.config.compose import CONF, compose
from distill.config.validation import check
from distill.sweeps import callback, record
from distill.sweeps.jobs import STATUS, SUMMARY, State, read
from distill.utils import processes
from distill.utils.errors import Interrupted, Pruned, UserError, first_line, nearest

FULL_ERROR, TRACEBACK = "HYDRA_FULL_ERROR", "DISTILL_TRACEBACK"


def _fail(message: str, status: int = 1) -> NoReturn:
    if processes.is_rank_zero() or "torch" in sys.modules:  # before that, all of several processes find the same
        print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(status)


def _warn_hidden(arguments: list[str]) -> None:
    """Hydra prefers the built-in of two files with one name; say so."""
    given = command_line.config_dir(arguments)
    for file in sorted(Path(given).rglob("*.yaml")) if given else []:
        twin = CONF / file.relative_to(str(given))
        if twin.exists():
            print(f"warning: {file} is hidden by the built-in {twin.name}; give it another name", file=sys.stderr)


def _keys(cfg: Any, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, values left unresolved."""
    found: list[str] = []
    for key in cfg:
        name = f"{prefix}{key}"
        found.append(name)
        if not OmegaConf.is_missing(cfg, key) and OmegaConf.is_dict(node := cfg._get_node(key)) and not node._is_none():
            found += _keys(node, f"{name}.")
    return found


def _explain(error: Exception) -> str:
    """One line for an error of Hydra's or OmegaConf's composition."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    for link in chain:
        if isinstance(link, OverrideParseException):
            said = str(link).partition("\nSee ")[0]
            return said if link.override in said else f"cannot read '{link.override}': {said}"
        if isinstance(link, MissingConfigException) and link.options is not None and link.missing_cfg_file:
            group, _, option = link.missing_cfg_file.rpartition("/")
            return f"{group} has no option '{option}'; {nearest(option, link.options, shown=40)}"
    if match := re.search(r"Could not load '([\w/]+)/([^'/]+)'", str(error)):  # one of several: kd=[dkd,spp]
        group, option = match.groups()
        known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        return f"{group} has no option '{option}'; {nearest(option, known, shown=40)}"
    for link in reversed(chain):
        if isinstance(link, OmegaConfBaseException) and (key := getattr(link, "full_key", None)):
            if isinstance(link, ConfigAttributeError | ConfigKeyError):
                return f"there is no key '{key}'; {_near_key(key)}"
            return f"{key}: {first_line(link)}"
    if match := re.search(r"Could not override '([^'=\s]+)'.*\s*No match in the defaults list", str(error)):
        key = match.group(1).lstrip("+~")
        return f"there is no key '{key}'; {_near_key(key)}"
    if "does not support sweep type" in str(error):
        return "a grid takes values, as in kd.T=1,2,4; a range, as interval(1,10), is for hydra/sweeper=optuna"
    return str(error).partition("\nSee ")[0]


def _near_key(key: str) -> str:
    """The nearest keys, of the same node if there is one, under the other choices of this command line."""
    if key.startswith("sweep"):
        return f"did you mean {command_line.RESUME_SWEEP}?"
    others = [arg for arg in sys.argv[1:] if re.match(r"[\w@/.]+=", arg) and not arg.startswith(f"{key}=")]
    single = [arg for arg in others if "," not in arg]  # a multirun's choices are composed one by one
    groups_only = [arg for arg in others if "/" in arg.partition("=")[0]]
    for overrides in (others, single, groups_only, []):
        try:
            names = _keys(compose(overrides, return_hydra_config=key.startswith("hydra.")))
            break
        except (HydraException, OmegaConfBaseException, UserError):
            continue
    groups = [*sorted(path.name for path in CONF.iterdir() if path.is_dir()), "teacher"]
    parent, _, last = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == parent]
    same = [name for name in names if name.rpartition(".")[2] == last and name != key]
    if same:
        return f"did you mean {' or '.join(same[:4])}?"
    if siblings:
        options = sorted({*siblings, *groups}) if not parent else siblings
        where = f" in {parent}" if parent else ""
        return f"keys{where}: {nearest(last, options, shown=30)}"
    return nearest(key, names)


def launch(main: Callable[[], Any]) -> None:
    """Runs a Hydra main: its errors become one line and a status, unless ``HYDRA_FULL_ERROR=1`` asks for tracebacks.

    Args:
        main: decorated with ``hydra.main``.
    """
    verbose = _verbose()
    processes.end_with_parent()
    if not processes.is_rank_zero():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    os.environ[FULL_ERROR] = "1"  # Hydra then raises instead of printing, and the lines below are the only ones
    os.environ.setdefault(TRACEBACK, str(int(verbose)))
    schema.register()
    try:
        sys.argv[1:] = command_line.resumed(sys.argv[1:])
        _warn_hidden(sys.argv[1:])
        main()
        if callback.current is not None:
            _conclude(callback.current)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        callback.undo()
        if verbose:
            raise
        _fail(str(error) if isinstance(error, UserError) else _explain(error))
    except callback.Refused as error:
        _fail(str(error))
    except (KeyboardInterrupt, Interrupted) as error:
        again = f"; continue with: python train.py -m sweep.resume={callback.current}" if callback.current else ""
        _fail(f"{str(error) or 'interrupted'}{again}", status=130)
    except Exception as error:
        if verbose or HydraConfig.initialized():  # a job had begun: no mistake in the command line
            raise
        _fail(first_line(error))


def _conclude(sweep: Path) -> None:
    """The end of a sweep: its answer, and status 1 unless every job finished."""
    from distill.cli.report import at_end

    at_end(sweep)
    wrong = record.verdict(sweep)
    if wrong is not None:
        _fail(wrong)


def _verbose() -> bool:
    """Whether tracebacks were asked for."""
    return os.environ.get(TRACEBACK, os.environ.get(FULL_ERROR, "0")) not in ("0", "")


def _claim(cfg: dict[str, Any], folder: Path, sweep: bool) -> bool:
    """Makes the folder this run's own: what it is, resolved (``schema.yaml``), and the command that continues it.

    A resumed run goes on as it was; only what does not shape the result (``schema.FREE``) may change. So does a
    job of a sweep whose folder holds it already: the same command runs what is missing.

    Returns:
        Whether the folder held this run before.

    Raises:
        UserError: the folder holds another run, or the resumed one was configured differently.
    """
    claimed = folder / "schema.yaml"
    if not claimed.exists():
        hydra = HydraConfig.get()
        own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
        overrides = [o for o in hydra.overrides.task if not o.startswith(f"{command_line.RESUME}=")]
        command = {"overrides": overrides, "config_dir": own[0] if own else None}
        OmegaConf.save(OmegaConf.create(command), folder / command_line.RECORD)
        part = claimed.with_suffix(".part")  # the claim is the last thing written, whole or not at all
        OmegaConf.save(OmegaConf.create(_plain(cfg)), part)
        part.replace(claimed)
        return False
    if cfg["resume"] is None and not sweep:
        raise UserError(f"{folder} holds a run already: continue it with resume={folder}, or choose another folder")
    before, now = (dict(schema.leaves(c)) for c in (OmegaConf.to_container(OmegaConf.load(claimed)), _plain(cfg)))
    for key in sorted({*before, *now}):
        if not key.startswith(schema.FREE) and before.get(key) != now.get(key):
            raise UserError(
                f"resume continues a run as it was: {key} was {before.get(key)!r} and is {now.get(key)!r} now; "
                "start a new run for another setting"
                if cfg["resume"] is not None
                else f"{folder} holds another run: {key} was {before.get(key)!r} and is {now.get(key)!r} now; "
                "choose another hydra.sweep.dir"
            )
    return True


def _plain(cfg: Any) -> Any:
    """The configuration in YAML's own types."""
    if isinstance(cfg, dict):
        return {str(key): _plain(value) for key, value in cfg.items()}
    return [_plain(value) for value in cfg] if isinstance(cfg, list) else cfg.name if isinstance(cfg, Enum) else cfg


def _work(cfg: DictConfig, folder: Path, sweep: bool) -> Any:
    """One job: the configuration is checked, then the heavy part is imported and run."""
    named_models.expand(cfg)
    resolved: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    check(resolved)
    if processes.inside() and processes.OURS not in os.environ:
        _check_torchrun(sweep)
    if processes.is_rank_zero() and processes.OURS not in os.environ:
        if _claim(resolved, folder, sweep) and cfg.resume is None:
            cfg.resume = str(folder)
        if (folder / SUMMARY).exists():
            print(f"{folder} is finished already: its results are in {folder / SUMMARY}", flush=True)
            return None
    several = processes.count(resolved["trainer"])
    if several > 1 and not processes.inside():
        return _in_processes(several, cfg, folder, sweep)
    with _importing():
        from distill.sweeps.callbacks import trainer_callbacks
        from distill.training.builder import build
        from distill.training.pipeline import run

    try:
        return run(build(cfg, folder, partial(trainer_callbacks, folder)))
    except Pruned as stop:
        if processes.is_rank_zero():
            record.prune(folder, stop.epoch, stop.accuracy)
        print(stop, flush=True)
        return None


@contextmanager
def _importing() -> Iterator[None]:
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
    """What processes that were started by others must have in common."""
    if sweep:
        raise UserError("torchrun starts one run; a multirun starts its jobs' processes itself: trainer.devices=N")
    if not any(o.startswith("hydra.run.dir=") for o in HydraConfig.get().overrides.hydra):
        raise UserError("torchrun's processes share one folder: name it with hydra.run.dir=<folder>")


def _in_processes(several: int, cfg: DictConfig, folder: Path, sweep: bool) -> None:
    """The job in several processes, each a run of its own in the same folder."""
    hydra = HydraConfig.get()
    own = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    flags = ["--config-dir", own[0]] if own else []
    again = [o for o in hydra.overrides.task if not o.startswith(f"{command_line.RESUME}=")]
    again += [f"{command_line.RESUME}={command_line.quoted(cfg.resume)}"] if cfg.resume is not None else []
    said: list[str] = []
    arguments = [*flags, *again, f"hydra.run.dir={command_line.quoted(folder)}"]
    status = processes.start(several, arguments, folder, said.append if sweep else None)
    if status == 130 and sweep:
        raise KeyboardInterrupt
    if status and sweep:
        raise UserError(processes.reason(said, status, folder))
    if status in (1, 130):  # the first process has said why
        sys.exit(status)
    if status:
        _fail(processes.reason([], status, folder))


def _message(error: Exception) -> str:
    """The one line of a mistake in the configuration."""
    key = getattr(error, "full_key", None)
    return f"{key}: {first_line(error)}" if key else str(error)


def job(cfg: DictConfig) -> Any:
    """One job, alone or of a multirun."""
    hydra = HydraConfig.get()
    folder = Path(os.path.relpath(hydra.runtime.output_dir))
    if hydra.mode == RunMode.MULTIRUN:
        return _job_of_sweep(cfg, folder)
    try:
        return _work(cfg, folder, sweep=False)
    except (UserError, OmegaConfBaseException) as error:
        if _verbose():
            raise
        _fail(_message(error))
    except Interrupted as stop:
        _fail(f"{stop}; continue with: python train.py resume={folder}", status=130)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
            _fail("interrupted", status=130)
        raise
    finally:
        (folder / STATUS).unlink(missing_ok=True)


def _job_of_sweep(cfg: DictConfig, folder: Path) -> Any:
    """One job of a multirun: what goes wrong stays in its folder (``failure.json``), and the others go on."""
    hydra = HydraConfig.get()
    ended = read(folder).state == State.finished
    record.clear(folder)
    record.beat(folder)
    try:
        return _work(cfg, folder, sweep=True)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
            raise KeyboardInterrupt from None
        raise
    except Exception as error:
        if isinstance(error, OmegaConfBaseException):
            error = UserError(_message(error))
        reason = record.fail(folder, list(hydra.overrides.task), error)
        if _verbose():
            traceback.print_exception(error)
        print(f"error: job {folder.name}: {reason}", file=sys.stderr, flush=True)
        return None
    finally:
        (folder / STATUS).unlink(missing_ok=True)
        gc.collect()  # the next job in this process may need the memory
        if (
            callback.current is not None and not ended
        ):  # here jobs follow one another; other launchers say it themselves
            print(record.progress(callback.current), flush=True)
