"""Errors of composing a configuration in one line, with the nearest names."""

import re
import sys
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from distill.config import command_line
from distill.config.compose import CONF, compose
from distill.utils.errors import UserError, first_line, nearest


def _keys(cfg: Any, prefix: str = "") -> list[str]:
    """Every dotted key of a configuration, values left unresolved."""
    names: list[str] = []
    for key in cfg:
        name = f"{prefix}{key}"
        names.append(name)
        if not OmegaConf.is_missing(cfg, key) and OmegaConf.is_dict(node := cfg._get_node(key)) and not node._is_none():
            names += _keys(node, f"{name}.")
    return names


def explain(error: Exception) -> str:
    """One line for an error of Hydra's or OmegaConf's composition."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    for link in chain:
        if isinstance(link, OverrideParseException):
            message = str(link).partition("\nSee ")[0]
            return message if link.override in message else f"cannot read '{link.override}': {message}"
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
                return f"there is no key '{key}'; {_nearest_keys(key)}"
            return f"{key}: {first_line(link)}"
    if match := re.search(r"Could not override '([^'=\s]+)'.*\s*No match in the defaults list", str(error)):
        key = match.group(1).lstrip("+~")
        return f"there is no key '{key}'; {_nearest_keys(key)}"
    if "does not support sweep type" in str(error):
        return "a grid takes values, as in kd.T=1,2,4; a range, as interval(1,10), is for hydra/sweeper=optuna"
    return str(error).partition("\nSee ")[0]


def _nearest_keys(key: str) -> str:
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


def explain_value(error: Exception) -> str:
    """One line for an error of a composed configuration's values."""
    key = getattr(error, "full_key", None)
    return f"{key}: {first_line(error)}" if key else str(error)
