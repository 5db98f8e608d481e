"""Which objects a configuration may name that was read from a folder: an allowlist by key.

A run's folder may come from somebody else. What its configuration names is built only if it is of the kind that the key
takes, from a known package, or if the user names its module (``trust=my_module``). What a command line or one's own
YAML files name is not checked here.
"""

import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill.config import own_code
from distill.config.allowlist import ARGUMENTS, KEYS, KINDS, resolve, within
from distill.config.paths import parsed
from distill.utils.errors import UserError, first_line

KEY = "trust"
HELP = "modules of your own that the run's configuration may name: my_models, or [my_models,my_data]"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.(?!__)[A-Za-z_]\w*)+")  # no part with two underscores: __globals__, __main__
_NAMED_TARGET = re.compile(r"_target_['\"]?\s*[:=]\s*['\"]?([\w.]+)")
_RESOLVER = re.compile(r"\$\{[^}]*:", re.DOTALL)
_OF_SWEEPS = re.compile(  # without shell lines, options of sbatch, addresses and storages of others
    r"hydra/(launcher|sweeper)=\w+"
    r"|hydra\.launcher\.((gpus|cpus)(_per_job)?|memory_gb|timeout_min|stop_before_s|jobs_at_once|poll_s)=[\w.]+"
    r"|hydra\.launcher\.(partition|account|qos|constraint)=[\w.,&|-]+"
    r"|hydra\.sweeper\.(n_trials|at_once|sampler|pruner|seed|study_name)=[\w.-]+"
    r"|hydra\.sweeper\.(sampler|pruner)_args=(null|\{ *[a-z_]+: *[\w.-]+( *, *[a-z_]+: *[\w.-]+)* *\})"
    r"|hydra\.sweep\.(dir|subdir)=(?!/|.*\.\.)[\w./ ,=-]+"
)
_ELSEWHERE = re.compile(  # where a logger or a callback would write outside of the run's folder
    r"\b(save_dir|dirpath|dir|artifact_location|tracking_uri)\b|://|\$|(?<![^\s'\"{\[:,=/])(\.\.|~)|(?<![^\s'\"{\[:,=])/"
)
_LIBRARY_LOADERS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # of timm's models
_HUB_LOADERS = ("backbone", "attn_implementation", "kernel", "remote_code", "auto_map", "model_args", "quantization")


def modules(value: Any) -> tuple[str, ...]:
    """The modules of ``trust=``: one name, several in a list or with commas, or None.

    Raises:
        UserError: no name of a module, or one of Python's own.

    Example:
        >>> modules("[my_models, my_losses]")
        ('my_models', 'my_losses')
    """
    names = value.strip("[] ").split(",") if isinstance(value, str) else list(value or ())
    names = [str(name).strip(" '\"") for name in names]
    for name in names:
        if not _MODULE.fullmatch(name):
            raise UserError(
                f"{KEY} takes the names of modules (trust=my_models, trust=[my_models,my_losses]): {name!r}"
            )
        if name.partition(".")[0] in sys.stdlib_module_names:
            raise UserError(f"{KEY}={name}: a module of Python itself is never taken from a run's configuration")
    return tuple(names)


def _is_value(override: str) -> bool:
    """Whether an override sets a value of the configuration and no more.

    Not so: a flag; a key of Hydra's, but for numbers and names of launchers and sweepers; a resolver; a path or an
    address to which a logger or a callback would write.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    parts = re.split(r"[./:@]", f"{parsed.key_or_group}@{parsed.package or ''}")
    acts_on_hydra = "hydra" in parts and not _OF_SWEEPS.fullmatch(override)
    writes_elsewhere = parts[0] in ("logger", "callbacks") and _ELSEWHERE.search(override.partition(parts[0])[2])
    is_flag = not parsed.key_or_group or override.startswith("-")
    return not (is_flag or acts_on_hydra or writes_elsewhere or _RESOLVER.search(override))


def check_override(override: str, file: Path) -> None:
    """Refuses a recorded override that is more than a value of the configuration.

    Raises:
        UserError: see above; or it is no override.
    """
    from hydra.errors import HydraException

    try:
        is_value = _is_value(override)
    except HydraException as error:
        raise UserError(f"{file}: {override!r} is no override") from error
    if not is_value:
        raise UserError(
            f"{file} has {override}, which is not repeated unasked, as the folder may be somebody else's; if it is "
            "yours, give it again on the command line"
        )


def overrides_again(overrides: Sequence[str]) -> list[str]:
    """What a command has to add to ``resume=``: overrides that are not repeated unasked, and ``trust=``.

    Example:
        >>> overrides_again(["model._target_=my_models.Net", "data.root=${oc.env:DATA}", "kd.T=4"])
        ['data.root=${oc.env:DATA}', 'trust=my_models']
    """
    packages = {target.partition(".")[0] for target in named_targets(overrides)}
    own = sorted(packages - {rule.path.partition(".")[0] for _, rules in KINDS.values() for rule in rules})
    modules = [f"{KEY}={own[0] if len(own) == 1 else '[' + ','.join(own) + ']'}"] if own else []
    folders = ("hydra.run.dir=", "hydra.sweep.dir=")  # stand in resume= already
    return [
        each for each in overrides if not each.startswith(folders) and parsed(each) is not None and not _is_value(each)
    ] + modules


def named_targets(texts: Collection[str]) -> frozenset[str]:
    """Every ``_target_`` in overrides or YAML files of the user's own."""
    return frozenset(target for text in texts for target in _NAMED_TARGET.findall(text))


@dataclass(frozen=True)
class Trust:
    """Checks one configuration that was read.

    Attributes:
        file: where it was read, for error messages.
        modules: of the user's own, see :func:`modules`.
        targets: what the user's own command line names.
    """

    file: Path
    modules: Sequence[str] = ()
    targets: Collection[str] = field(default_factory=frozenset)

    def check(self, config: Any) -> None:
        """Checks every object that a configuration, resolved, names; imports what it names from known packages.

        Raises:
            UserError: the first object that is not allowed: its key, the file, and what to add if it is the user's own.
        """
        for path, kind, node in _nodes(config):
            self._check_node(".".join(path), kind, node)

    def _check_node(self, key: str, kind: str, node: Mapping[Any, Any]) -> None:
        target, (takes, rules) = node["_target_"], KINDS[kind]
        if not isinstance(target, str) or not _TARGET.fullmatch(target):
            raise UserError(f"{key}._target_ in {self.file} is no name of a class or function: {target!r}")
        for name, value in _strings(node):
            if "${" in value:
                raise UserError(f"{key}.{name} in {self.file}: a run's configuration has no interpolations: {value!r}")
        if target in self.targets:
            return
        trusted = any(within(target, module) for module in self.modules)
        if not trusted and not any(within(target, rule.path) for rule in rules):
            raise self._refused(key, target, target, takes)
        try:
            value = resolve(target)
        except Exception as error:
            raise UserError(
                f"{key}._target_ in {self.file}: cannot import '{target}': {first_line(error)}{own_code.hint(target)}"
            ) from error
        if not (inspect.isclass(value) or inspect.isfunction(value) or inspect.ismethod(value)):
            raise UserError(f"{key}._target_ in {self.file}: {target} is no class or function")
        if any(within(value.__module__, module) for module in self.modules):
            return
        if not any(rule.takes(value) for rule in rules):
            raise self._refused(key, target, f"{value.__module__}.{value.__qualname__}", takes)
        if kind in ("model", "module"):
            self._check_loaders(key, value.__module__, node)

    def _check_loaders(self, key: str, module: str, node: Mapping[Any, Any]) -> None:
        """Arguments with which a library's model loads files or code that they name.

        Text encoders of ours read JSON, safetensors and tokenizers of the name, and never code.
        """
        if within(module, "distill.models.text"):
            return
        if module.startswith("transformers"):
            name = next((k for k in node if node[k] is not None and any(word in str(k) for word in _HUB_LOADERS)), None)
            library = "transformers"
        else:
            name = next((k for k in _LIBRARY_LOADERS if node.get(k) is not None), None)
            if name is None and re.search(r"[:/]", str(node.get("name", node.get("model_name", "")))):
                name = "name" if "name" in node else "model_name"
            library = "timm"
        if name is not None and library not in self.modules:
            raise UserError(
                f"{key}.{name} in {self.file} names what {library} would load ({node[name]}), and this configuration "
                f"may be somebody else's; if you trust it, add {KEY}={library}"
            )

    def _refused(self, key: str, target: str, defined: str, takes: str) -> UserError:
        package = defined.partition(".")[0]
        libraries = {rule.path.partition(".")[0] for _, rules in KINDS.values() for rule in rules}
        module = defined.rpartition(".")[0] if package in {*libraries, "hydra", "omegaconf"} else package
        direct = within(target, package) and package not in sys.stdlib_module_names
        remedy = f"; if you trust it, add {KEY}={module}" if direct else ""
        alias = f", which is {defined}," if defined != target else ""
        return UserError(
            f"{key}._target_ in {self.file} names {target}{alias} and is refused: a run's folder may be somebody "
            f"else's, and this key takes {takes}{remedy}"
        )


def _nodes(
    value: Any, path: tuple[str, ...] = (), parent: str | None = None
) -> Iterator[tuple[tuple[str, ...], str, Mapping[Any, Any]]]:
    """Every node with a ``_target_``: its key, its kind, itself."""
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, Mapping):
        items = iter(value.items())
        if "_target_" in value:
            parent = _kind(path) or ARGUMENTS.get(parent or "", "nothing")
            yield path, parent, value
    elif isinstance(value, list | tuple):
        items = iter(enumerate(value))
    for key, item in items:
        yield from _nodes(item, (*path, str(key)), parent)


def _kind(path: tuple[str, ...]) -> str | None:
    for pattern, kind in KEYS.items():
        if len(pattern) == len(path) and all(want in ("*", have) for want, have in zip(pattern, path, strict=True)):
            return kind
    return None


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a node with its key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping | list | tuple):
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _strings(item, f"{key}.{name}" if key else str(name))
