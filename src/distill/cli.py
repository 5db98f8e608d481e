"""The front of the command line: quick answers, one-line errors, Ctrl-C. Nothing heavy is imported here."""

import os
import re
import sys
from collections.abc import Callable
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from distill import config, options
from distill.check import check
from distill.errors import Interrupted, UserError, first_line, nearest

RECORD = "command.yaml"
WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")
FREE = ("resume", "logger", "threads", "teachers_dir", "cache.dir", "cache.max_gb", "data.num_workers",
        "trainer.enable_progress_bar", "trainer.log_every_n_steps")  # fmt: skip
FULL_ERROR, TRACEBACK = "HYDRA_FULL_ERROR", "DISTILL_TRACEBACK"


def _fail(message: str, status: int = 1) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(status)


def _flags(argv: list[str]) -> tuple[list[str], list[str]]:
    """A command line as its flags, each with its value, and its overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    rest = list(argv)
    while rest:
        arg = rest.pop(0)
        if arg.startswith("-"):
            flags.append(arg)
            if arg in WITH_VALUE and rest:
                flags.append(rest.pop(0))
        else:
            overrides.append(arg)
    return flags, overrides


def _config_dir(flags: list[str]) -> str | None:
    """The value of ``--config-dir``."""
    for flag, value in pairwise([*flags, ""]):
        if flag in ("--config-dir", "-cd"):
            return value
        if flag.startswith("--config-dir="):
            return flag.partition("=")[2]
    return None


def _resume(argv: list[str]) -> list[str]:
    """``resume=<folder or checkpoint>`` with the run's own command before it and its folder as the output folder.

    Raises:
        UserError: there is no such run.
    """
    flags, overrides = _flags(argv)
    given = next((arg.partition("=")[2] for arg in overrides if arg.startswith("resume=")), "")
    if given in ("", "null"):
        return argv
    path = Path(given.strip("'\""))
    folder = path if path.is_dir() else path.parent.parent
    if not path.exists():
        raise UserError(f"resume: {path} does not exist")
    if not (folder / RECORD).is_file():
        raise UserError(f"resume: {path} belongs to no run (no {folder / RECORD})")
    record: Any = OmegaConf.to_container(OmegaConf.load(folder / RECORD))
    if record["config_dir"] and not _config_dir(flags):
        flags += ["--config-dir", record["config_dir"]]
    return [*flags, *record["overrides"], *overrides, f"hydra.run.dir={_quoted(folder)}"]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"


def _warn_hidden(argv: list[str], built_in: Path) -> None:
    """Hydra prefers the built-in of two files with one name; say so."""
    given = _config_dir(_flags(argv)[0])
    for file in sorted(Path(given).rglob("*.yaml")) if given else []:
        twin = built_in / file.relative_to(str(given))
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


def _explain(error: Exception, config_dir: Path) -> str:
    """One line for an error of Hydra's or OmegaConf's composition."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    for link in chain:
        if isinstance(link, MissingConfigException) and link.options is not None and link.missing_cfg_file:
            group, _, option = link.missing_cfg_file.rpartition("/")
            return f"{group} has no option '{option}'; {nearest(option, link.options, shown=40)}"
    if match := re.search(r"Could not load '([\w/]+)/([^'/]+)'", str(error)):  # one of several: kd=[dkd,spp]
        group, option = match.groups()
        known = sorted(path.stem for path in (config_dir / group).glob("*.yaml"))
        return f"{group} has no option '{option}'; {nearest(option, known, shown=40)}"
    for link in reversed(chain):
        if isinstance(link, OmegaConfBaseException) and (key := getattr(link, "full_key", None)):
            if isinstance(link, ConfigAttributeError | ConfigKeyError):
                return f"there is no key '{key}'; {_near_key(key, config_dir)}"
            return f"{key}: {first_line(link)}"
    if match := re.search(r"Could not override '([^'=\s]+)'.*\s*No match in the defaults list", str(error)):
        key = match.group(1).lstrip("+~")
        return f"there is no key '{key}'; {_near_key(key, config_dir)}"
    return str(error).partition("\nSee ")[0]


def _near_key(key: str, config_dir: Path) -> str:
    """The nearest keys, of the same node if there is one, under the other choices of this command line."""
    others = [arg for arg in sys.argv[1:] if re.match(r"[\w@/.]+=", arg) and not arg.startswith(f"{key}=")]
    for overrides in (others, []):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(config_dir), version_base="1.3"):
            try:
                names = _keys(compose("train", overrides=overrides))
                break
            except (HydraException, OmegaConfBaseException):
                continue
    groups = sorted(path.name for path in config_dir.iterdir() if path.is_dir())
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


def launch(main: Callable[[], Any], config_dir: Path) -> None:
    """Runs a Hydra main: its errors become one line and a status, unless ``HYDRA_FULL_ERROR=1`` asks for tracebacks.

    Args:
        main: decorated with ``hydra.main``.
        config_dir: absolute path of the folder ``conf``.
    """
    verbose = _verbose()
    os.environ[FULL_ERROR] = "1"  # Hydra then raises instead of printing, and the lines below are the only ones
    os.environ.setdefault(TRACEBACK, str(int(verbose)))
    config.register()
    try:
        sys.argv[1:] = _resume(sys.argv[1:])
        _warn_hidden(sys.argv[1:], config_dir)
        main()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if verbose:
            raise
        _fail(str(error) if isinstance(error, UserError) else _explain(error, config_dir))
    except (KeyboardInterrupt, Interrupted) as error:
        _fail(str(error) or "interrupted", status=130)
    except Exception as error:
        if verbose or HydraConfig.initialized():  # a job had begun: no mistake in the command line
            raise
        _fail(first_line(error))


def _verbose() -> bool:
    """Whether tracebacks were asked for."""
    return os.environ.get(TRACEBACK, os.environ.get(FULL_ERROR, "0")) not in ("0", "")


def _claim(cfg: dict[str, Any], folder: Path, sweep: bool) -> bool:
    """Makes the folder this run's own: what it is, resolved (``config.yaml``), and the command that continues it.

    A resumed run goes on as it was; only what does not shape the result (``FREE``) may change. So does a job of a
    sweep whose folder holds it already: the same command runs what is missing.

    Returns:
        Whether the folder held this run before.

    Raises:
        UserError: the folder holds another run, or the resumed one was configured differently.
    """
    record = folder / "config.yaml"
    if not record.exists():
        OmegaConf.save(OmegaConf.create(_plain(cfg)), record)
        hydra = HydraConfig.get()
        overrides = [o for o in hydra.overrides.task if not o.startswith("resume=")]
        config_dir = _config_dir(_flags(sys.argv[1:])[0])
        command = {"overrides": overrides, "config_dir": str(Path(config_dir).resolve()) if config_dir else None}
        OmegaConf.save(OmegaConf.create(command), folder / RECORD)
        return False
    if cfg["resume"] is None and not sweep:
        raise UserError(f"{folder} holds a run already: continue it with resume={folder}, or choose another folder")
    before, now = (dict(config.leaves(c)) for c in (OmegaConf.to_container(OmegaConf.load(record)), _plain(cfg)))
    for key in sorted({*before, *now}):
        if not key.startswith(FREE) and before.get(key) != now.get(key):
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


def job(cfg: DictConfig) -> Any:
    """One job: the configuration is checked, then the heavy part is imported and run."""
    hydra = HydraConfig.get()
    folder = Path(os.path.relpath(hydra.runtime.output_dir))
    try:
        options.expand(cfg)
        resolved: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check(resolved)
        if _claim(resolved, folder, sweep=hydra.mode == RunMode.MULTIRUN) and cfg.resume is None:
            cfg.resume = str(folder)
        if (folder / "summary.json").exists():
            print(f"{folder} is finished already: its results are in {folder}/summary.json")
            return None
        from distill.build import build
        from distill.run import run

        return run(build(cfg, folder))
    except (UserError, OmegaConfBaseException) as error:
        key = getattr(error, "full_key", None)
        message = f"{key}: {first_line(error)}" if key else str(error)
        if hydra.mode == RunMode.MULTIRUN or _verbose():  # a sweep goes on with its other jobs
            raise
        _fail(message)
    except Interrupted as stop:
        if hydra.mode == RunMode.MULTIRUN:
            raise
        _fail(f"{stop}; continue with: python train.py resume={folder}", status=130)
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning's answer to a second Ctrl-C
            _fail("interrupted", status=130)
        raise
