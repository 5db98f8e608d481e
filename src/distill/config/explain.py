"""Errors of composing a configuration in one line, with the nearest names."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import yaml
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.utils import get_object
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException

from distill.config import CONF, command_line, signatures
from distill.config.compose import ERRORS, compose, not_text
from distill.config.schema import walk
from distill.utils import arguments
from distill.utils.errors import UserError, first_line, nearest, unknown_option
from distill.utils.invocation import invocation

FAMILIAR = {  # what other programs call a key
    "trainer.max_epochs": ("epoch", "epochs", "max_epochs", "num_epochs", "n_epochs"),
    "optimizer.lr": ("lr", "learning_rate"),
    "optimizer.weight_decay": ("wd", "weight_decay"),
    "optimizer.momentum": ("momentum",),
    "data.batch_size": ("bs", "batch", "batch_size", "train_batch_size"),
    "data.num_workers": ("workers", "num_workers", "n_workers"),
    "data.image_size": ("image_size", "img_size", "imgsz", "input_size"),
    "data.root": ("root", "data_dir", "data_path", "data_root", "dataset_path"),
    "data.num_classes": ("classes", "num_classes", "n_classes"),
    "kd.T": ("t", "tau", "temp", "temperature"),
    "kd.alpha": ("alpha", "kd_alpha"),
    "trainer.accelerator": ("device", "accelerator"),
    "trainer.devices": ("devices", "gpus", "n_gpus"),
    "trainer.precision": ("precision", "amp", "fp16", "bf16"),
    "teacher.checkpoint": ("checkpoint", "ckpt", "teacher_checkpoint", "teacher_ckpt", "teacher_path"),
    "teacher.backbone": ("teacher_backbone", "pretrained_teacher"),
    "model.backbone": ("pretrained_path", "pretrained_backbone"),
    "hydra.run.dir": ("out", "output", "output_dir", "out_dir", "save_dir", "log_dir", "work_dir"),
    "log_level": ("verbose", "debug", "quiet"),
    "model": ("student", "arch", "net", "network", "backbone", "student_model", "model_name"),
    "teacher": ("teacher_model", "teacher_name", "teacher_arch"),
    "data": ("dataset",),
    "kd": ("method", "loss", "distill", "distillation"),
    "optimizer": ("optim", "opt"),
    "scheduler": ("sched", "lr_scheduler", "schedule"),
}
OF_A_TEACHER = {"trainer.max_epochs": "max_epochs", "data.batch_size": "batch_size"}  # below teacher.recipe


def familiar(key: str) -> str | None:
    """The key that other programs call ``key``, or its last part.

    Example:
        >>> familiar("learning-rate"), familiar("kd.temperature"), familiar("teacher.epochs"), familiar("x")
        ('optimizer.lr', 'kd.T', 'teacher.recipe.max_epochs', None)
    """
    parent, _, last = key.lower().replace("-", "_").rpartition(".")
    name = next((name for name, words in FAMILIAR.items() if last in words), None)
    if name is not None and parent.startswith("teacher") and not name.startswith("teacher"):
        return f"teacher.recipe.{OF_A_TEACHER.get(name, name)}"
    return name if name is not None and parent in ("", name.partition(".")[0]) else None


def check_flags(arguments: Sequence[str]) -> None:
    """A ``UserError`` for a flag that Hydra does not have, as ``--epochs 5``: names the key that may be meant."""
    flags, _ = command_line.split(arguments)
    if "-" in flags:  # argparse takes it for an override, and then no others
        raise UserError("'-' is no key=value")
    _, unknown = _flag_parser().parse_known_args(flags)
    if not unknown:
        return
    flag, _, value = unknown[0].partition("=")
    following = arguments[arguments.index(unknown[0]) + 1 :]
    if not value and following and "=" not in following[0]:
        value = following[0]
    key = flag.lstrip("-").replace("-", "_")
    known = familiar(key) or next((name for name in (*_groups(), *_composed("")) if name == key), None)
    hint = f"did you mean {known}={value or '<value>'}?" if known else f"{invocation('train', '--help')} lists the keys"
    raise UserError(f"there is no flag {flag}, settings are key=value: {hint}")


def _flag_parser() -> ArgumentParser:
    """Hydra's parser of flags; what it cannot read (``--cfg x``) is a ``UserError`` and not its usage."""

    def refuse(message: str) -> NoReturn:
        raise UserError(message)

    parser: ArgumentParser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser


def explain(error: Exception) -> str:
    """One line for an error of Hydra's or OmegaConf's."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and isinstance(cause, Exception):
        chain.append(cause)
    for link in chain:
        if isinstance(link, yaml.YAMLError):
            return first_line(link)
        if isinstance(link, OSError) and link.filename is not None:  # of the log in the run's folder
            return f"{link.filename}: {link.strerror}"
        if isinstance(link, UnicodeDecodeError):
            return f"{not_text(command_line.config_dir(sys.argv[1:])) or 'a file'} is no text in UTF-8: {link}"
        if isinstance(link, OverrideParseException):
            return _unreadable(link)
        if isinstance(link, MissingConfigException) and link.options is not None and link.missing_cfg_file:
            group, _, option = link.missing_cfg_file.rpartition("/")
            return unknown_option(group, option, link.options)
    if match := re.search(r"Could not load '([\w/]+)/([^'/]+)'", str(error)):  # one of several: kd=[dkd,spp]
        group, option = match.groups()
        return unknown_option(group, option, sorted(path.stem for path in (CONF / group).glob("*.yaml")))
    for link in reversed(chain):
        if isinstance(link, OmegaConfBaseException) and (key := getattr(link, "full_key", None)):
            if isinstance(link, ConfigAttributeError | ConfigKeyError) and key == "experiment":
                return "the file that experiment= chooses must begin with the line '# @package _global_'"
            if isinstance(link, ConfigAttributeError | ConfigKeyError):
                return f"there is no key '{key}'; {_nearest_keys(key)}"
            if match := re.search(r"Interpolation key '([^']+)' not found", str(link)):
                return f"{key} follows {match[1]}, which there is not: give {key} a value"
            if any(words in str(link) for words in ("Recursive interpolation", "recursion depth")):
                return f"{key} follows a key that follows it: give one of them a value (teacher.tokenizer=...)"
            return f"{'the choice of a group' if key == '_dummy_' else key}: {first_line(link)}"
    if match := re.search(r"Could not override '([^'=\s]+)'.*\s*No match in the defaults list", str(error)):
        key = match.group(1).lstrip("+~")
        return f"there is no key '{key}'; {_nearest_keys(key)}"
    if match := re.search(r"Ambiguous value for argument '([^=]+)=(.+)'", str(error)):
        key, values = match.groups()
        multirun = "-m runs a job for each (distill.sweep in Python)"
        return f"{key}={values} are several values: {multirun}; {key}=[{values}] is a list"
    if "Config group override must be" in str(error):
        return _no_option()
    if "does not support sweep type" in str(error):
        return "a grid takes values, as in kd.T=1,2,4; a range, as interval(1,10), is for hydra/sweeper=optuna"
    text = str(error).partition("\nSee ")[0]
    return first_line(error) if "while resolving interpolation" in text else text


def _unreadable(error: OverrideParseException) -> str:
    """The message for an argument that Hydra's grammar does not take: which, and what is wrong with it."""
    override, message = str(error.override), str(error).partition("\nSee ")[0]
    if "=" not in override:
        return _no_value(override)
    if pointer := re.search(r"^( *)\^", message, re.MULTILINE):  # below the message's first line, which ends with it
        place = len(pointer[1]) - message.partition("\n")[0].rindex(override)
        message = f"{override[place]!r} cannot stand there; a value with such characters needs quotes of its own"
    return f"cannot read '{override}': {message}"


def _no_option() -> str:
    """The message for a group whose option is no name, as ``logger=null``."""
    for argument in sys.argv[1:]:
        group, _, value = argument.lstrip("+").partition("=")
        if not group:
            return f"'{argument}' is no key=value"
        if group in _groups() and re.fullmatch(r"null|true|false|[-+\d.e]+|\{.*\}", value, re.IGNORECASE):
            folder = CONF / ("model" if group == "teacher" else group)
            return unknown_option(group, value, sorted(path.stem for path in folder.glob("*.yaml")))
    return "a group takes the name of an option"


def _no_value(word: str) -> str:
    """The message for an argument without ``=``."""
    groups = [group for group in ("data", "kd", "model") if (CONF / group / f"{word}.yaml").is_file()]
    hint = f"did you mean {' or '.join(f'{group}={word}' for group in groups)}?" if groups else f"{word}=<value> is one"
    return f"'{word}' is no key=value; {hint}"


def _groups() -> list[str]:
    """The config groups of the command line."""
    return [*sorted(path.name for path in CONF.iterdir() if path.is_dir()), "teacher"]


def _composed(key: str) -> dict[str, Any]:
    """Every node and value by its dotted key, under the choices of this command line but ``key``."""
    others = [arg for arg in sys.argv[1:] if re.match(r"[\w@/.]+=", arg) and not arg.startswith(f"{key}=")]
    single = [arg for arg in others if "," not in arg]  # a multirun's choices are composed one by one
    groups_only = [arg for arg in others if "/" in arg.partition("=")[0]]
    folder = command_line.config_dir(sys.argv[1:])
    folders = [folder] if folder and Path(folder).is_dir() else []
    for overrides in (others, single, groups_only, []):
        try:
            composed = compose(overrides, folders, return_hydra_config=key.startswith("hydra."))
            break
        except (*ERRORS, UserError):
            continue
    config: Any = OmegaConf.to_container(composed, resolve=False)
    return dict(walk(config))


def _nearest_keys(key: str) -> str:
    """The nearest keys, of the same node if there is one, under the other choices of this command line."""
    if key.startswith("sweep"):
        return f"did you mean {command_line.RESUME_SWEEP}?"
    if (known := familiar(key)) is not None and known != key:
        return f"did you mean {known}?"
    nodes = _composed(key)
    names, groups = list(nodes), _groups()
    parent, _, last = key.rpartition(".")
    siblings = [name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == parent]
    same = sorted((name for name in names if name.rpartition(".")[2] == last and name != key), key=_depth)
    if not same and not parent:
        everything = {*names, *groups}
        close = get_close_matches(last, {name.rpartition(".")[2] for name in everything}, n=1, cutoff=0.75)
        same = sorted(sorted(name for name in everything if name.rpartition(".")[2] in close), key=_depth)
    if same:
        return f"did you mean {' or '.join(same[:4])}?"
    given, composed = _given_target(parent), nodes.get(f"{parent}._target_")
    target = given or composed
    accepted, others = _accepted(target)
    if given not in (None, composed):  # the siblings are those of another target
        siblings = ["_target_"]
    if last in accepted:
        return f"+{key}=... gives it to {target}"
    if siblings:
        siblings += [name for name in accepted if name not in siblings]
        if not parent:
            return nearest(last, sorted({*siblings, *groups}), shown=30)
        known = nearest(last, siblings, shown=30).replace("Allowed:", f"Allowed in {parent}:")
        return f"+{key}=... hands it on to {target}; {known}" if others and "did you mean" not in known else known
    return nearest(key, names)


def _given_target(parent: str) -> Any:
    """The ``_target_`` that this command line itself gives a node, as in ``model={_target_: my.Net, width: 8}``."""
    found = None
    for argument in sys.argv[1:]:
        key, _, value = argument.lstrip("+").partition("=")
        if key not in (parent, f"{parent}._target_") or not (key != parent or value.startswith("{")):
            continue
        try:
            (override,) = OverridesParser.create().parse_overrides([argument])
        except HydraException:
            continue
        given = override.value()
        found = (given.get("_target_") if isinstance(given, dict) else given) or found
    return found


def _accepted(target: Any) -> tuple[list[str], bool]:
    """Arguments of a class or function: of this package, or of the user's own code, which is imported.

    Returns:
        Those that it names, and whether it takes any other.
    """
    if not isinstance(target, str) or target.startswith(("torch.", "lightning.", "torchvision.")):  # take seconds
        return [], False
    if target.startswith("distill."):
        known = signatures.parameters(target)
        return known or [], known is None and signatures.exists(target)
    try:
        return arguments.names(get_object(target))
    except Exception:  # whatever is wrong with it, the mistyped key is the matter
        return [], False


def _depth(name: str) -> int:
    return name.count(".")
