"""The front of the command line: quick answers, one-line errors, Ctrl-C. Nothing heavy is imported here."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from distill import config
from distill.check import check
from distill.errors import Interrupted, UserError, first_line, nearest

FULL_ERROR, TRACEBACK = "HYDRA_FULL_ERROR", "DISTILL_TRACEBACK"


def _fail(message: str, status: int = 1) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    raise SystemExit(status)


def _option(argv: list[str], *names: str) -> str | None:
    """The value of a flag, as ``--name value`` or ``--name=value``."""
    for i, arg in enumerate(argv):
        for name in names:
            if arg == name and i + 1 < len(argv):
                return argv[i + 1]
            if arg.startswith(f"{name}="):
                return arg.split("=", 1)[1]
    return None


def _resume(argv: list[str]) -> list[str]:
    """``resume=<folder or checkpoint>`` with the run's own overrides before it and its folder as the output folder."""
    given = next((arg.split("=", 1)[1] for arg in argv if arg.startswith("resume=")), "")
    if given in ("", "null"):
        return argv
    path = Path(given.strip("'\""))
    folder = path if path.is_dir() else path.parent.parent
    record = folder / ".hydra" / "overrides.yaml"
    if not path.exists():
        raise UserError(f"resume: {path} does not exist")
    if not record.is_file():
        raise UserError(f"resume: {path} belongs to no run (no {record})")
    before = [str(o) for o in OmegaConf.load(record) if not str(o).startswith(("resume=", "hydra.run.dir="))]
    flags = [arg for arg in argv if arg.startswith("-")]
    return [*flags, *before, *[a for a in argv if a not in flags], f"hydra.run.dir={_quoted(folder)}"]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "\\'") + "'"


def _warn_hidden(argv: list[str], built_in: Path) -> None:
    """Hydra prefers the built-in of two files with one name; say so."""
    given = _option(argv, "--config-dir", "-cd")
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


def _verbose() -> bool:
    """Whether tracebacks were asked for."""
    return os.environ.get(TRACEBACK, os.environ.get(FULL_ERROR, "0")) not in ("0", "")


def _claim(cfg: dict[str, Any], folder: Path, given: list[str]) -> None:
    """Writes the resolved ``config.yaml``; a folder that holds another run is not written over.

    Raises:
        UserError: the folder holds a run and is not resumed, or what is resumed has another configuration by now.
    """
    record = folder / "config.yaml"
    if record.exists():
        if cfg["resume"] is None:
            raise UserError(f"{folder} holds a run already: continue it with resume={folder}, or choose another folder")
        before, now = (dict(_leaves(c)) for c in (OmegaConf.to_container(OmegaConf.load(record)), _plain(cfg)))
        asked = {override.lstrip("+~").partition("=")[0].replace("/", ".") for override in given} | {"resume"}
        for key in sorted({*before, *now}):
            covered = any(key == name or key.startswith(f"{name}.") for name in asked)
            if not covered and before.get(key) != now.get(key):
                raise UserError(
                    f"resume: the configuration of {folder} has changed: {key} was {before.get(key)!r} and is "
                    f"{now.get(key)!r}; say which with {key}="
                )
    OmegaConf.save(OmegaConf.create(_plain(cfg)), record)


def _plain(cfg: Any) -> Any:
    """The configuration in YAML's own types."""
    if isinstance(cfg, dict):
        return {str(key): _plain(value) for key, value in cfg.items()}
    return [_plain(value) for value in cfg] if isinstance(cfg, list) else cfg.name if isinstance(cfg, Enum) else cfg


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def job(cfg: DictConfig) -> Any:
    """One job: the configuration is checked, then the heavy part is imported and run."""
    hydra = HydraConfig.get()
    folder = Path(os.path.relpath(hydra.runtime.output_dir))
    try:
        resolved: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        check(resolved)
        _claim(resolved, folder, list(hydra.overrides.task))
        from distill.build import build
        from distill.run import run

        return run(build(cfg, folder))
    except (UserError, OmegaConfBaseException) as error:
        message = _explain(error, folder) if isinstance(error, OmegaConfBaseException) else str(error)
        if hydra.mode == RunMode.MULTIRUN:
            print(f"error: {message}", file=sys.stderr, flush=True)
        if hydra.mode == RunMode.MULTIRUN or _verbose():
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
