"""The text of ``python train.py --help``: the comments of the YAML files and of the schema, and docstrings, by key."""

import inspect
import re
import shutil
import textwrap
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from distill.config import CONF, schema, signatures
from distill.config.compose import compose
from distill.utils.invocation import invocation

ABOUT = """\
Trains a teacher, distils it into a student, compares the two.

  {command} model=resnet8 teacher=resnet20 data=cifar10 kd.T=4 seed=1

L = alpha * L_hard + (1 - alpha) * L_soft + feature and relation terms;
alpha weighs the hard loss.
"""
FLAGS = """\
flags:
  -m             run every combination of comma-separated values, as kd.T=2,4
  -v             say more: how each model is computed on this machine
  --config-dir   a folder with YAML files of your own
  --cfg job      print the configuration and stop

python -m distill methods lists what kd= takes, with a line each.
"""
SECTIONS = {
    "model": "the student",
    "teacher": "the same choices as model, and how it is trained",
    "data": "the dataset, and how it is shown",
    "kd": "the method: how the student is taught",
    "optimizer": "of the student",
    "scheduler": "the student's learning rate; null: constant",
    "trainer": "length and device of the training",
    "callbacks": "checkpoints, early stopping",
    "logger": "where curves are written",
    "cache": "the teacher's answers, kept for later runs",
}
DATACLASSES = {
    r"": schema.TrainConfig,
    r"data\.": schema.DataConfig,
    r"kd\.": schema.KDConfig,
    r"kd\.terms\.\w+\.": schema.TermConfig,
    r"teacher\.recipe\.": schema.RecipeConfig,
    r"trainer\.": schema.TrainerConfig,
    r"cache\.": schema.CacheConfig,
}
FOREIGN = {  # arguments of torch's and Lightning's classes
    "lr": "learning rate",
    "momentum": "share of the last step that is added to the next",
    "weight_decay": "L2 penalty of the weights, per unit of learning rate",
    "nesterov": "Nesterov's momentum",
    "betas": "decay rates of the running means of gradient and square",
    "max_lr": "the highest learning rate",
    "pct_start": "share of the training in which the learning rate rises",
    "cycle_momentum": "momentum falls while the learning rate rises",
    "milestones": "epochs, or shares of the training, after which the learning rate falls",
    "gamma": "factor by which it falls",
    "filename": "its file below checkpoints/",
    "monitor": "the number that chooses, as in metrics.csv",
    "mode": "whether max or min of it is best",
    "patience": "epochs without a better one before the training stops",
    "save_on_train_epoch_end": "written at the end of an epoch",
    "enable_version_counter": "false: the file is replaced",
    "logging_interval": "epoch or step",
    "name": "its folder, or name",
    "max_epochs": "length of the training",
    "batch_size": "samples per optimizer step",
    "T": "temperature, above 0",
    "backbone": "a file (safetensors, .pt): all weights of a pretrained model but its classifier's",
    "preprocess": "auto: that of pretrained weights; false: as the student's; or {mean, std, size, interpolation}",
    "_target_": "its class; the other keys are arguments",
}


@cache
def comments(text: str) -> dict[str, str]:
    r"""The comments behind the keys of a YAML file, or behind the fields of a dataclass, by dotted key.

    Example:
        >>> comments("cache:      # kept\n  top_k: 3  # logits\nseed: 0")
        {'cache': 'kept', 'cache.top_k': 'logits'}
    """
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for indent, key, comment in re.findall(r"^( *)(\w+):(?:[^#\n]*)(?:#\s*(.*))?$", text, re.MULTILINE):
        parents = [*((depth, name) for depth, name in parents if depth < len(indent)), (len(indent), key)]
        if comment:
            found[".".join(name for _, name in parents)] = comment
    return found


def _of_groups(folders: Sequence[Path], chosen: dict[str, Any], others: bool) -> dict[str, str]:
    """The comments of train.yaml and of the options that are chosen, or of all other options."""
    found = {} if others else dict(comments((CONF / "train.yaml").read_text(encoding="utf-8")))
    for group in SECTIONS:
        for file in sorted(file for folder in folders for file in (folder / group).glob("*.yaml")):
            if (file.stem != str(chosen.get(group))) == others:
                found |= {f"{group}.{key}": text for key, text in comments(file.read_text(encoding="utf-8")).items()}
    return found


@cache
def _of_fields() -> dict[str, dict[str, str]]:
    """The comments of the schema, by the pattern of a prefix."""
    return {prefix: comments(textwrap.dedent(inspect.getsource(cls))) for prefix, cls in DATACLASSES.items()}


def describe(nodes: dict[str, Any], choices: dict[str, Any], folders: Sequence[Path]) -> dict[str, str]:
    """A description of every value, by dotted key.

    Args:
        nodes: every node and value by its key.
        choices: the chosen option of each group.
        folders: with the groups' YAML files.
    """
    of_chosen, of_others = (_of_groups(folders, choices, others) for others in (False, True))
    fields = _of_fields()

    def one(key: str) -> str:
        parent, _, last = key.rpartition(".")
        target = str(nodes.get(f"{parent}._target_", ""))
        summary, arguments = signatures.documentation(target)
        if last == "_target_" and summary:
            return summary
        if last in arguments:
            return arguments[last]
        own = next((own for prefix, own in fields.items() if last in own and re.fullmatch(prefix + last, key)), {})
        same = key.removeprefix("teacher.recipe.")  # as of the student
        model = key.replace("teacher.", "model.", 1)  # the same files
        names = (of_chosen.get(key), own.get(last), of_chosen.get(same), of_others.get(same))
        known = (*names, of_chosen.get(model), of_others.get(model), FOREIGN.get(last))
        schedule = "of a schedule, see docs/methods.md" if "schedule" in (nodes.get(parent) or ()) else ""
        return next(filter(None, known), f"argument of {target}" if target else schedule)

    leaves = (key for key, value in nodes.items() if not isinstance(value, dict) or not value)
    return {key: _plain(one(key)) for key in leaves if not key.endswith("._partial_")}


def _plain(text: str) -> str:
    """A description without the marks of docstrings."""
    return re.sub(r":\w+:`~?([^`]*)`|``([^`]*)``", r"\1\2", text)


def _entry(left: str, right: str, width: int) -> str:
    """A key with its value, and its description beside it, or below where it is long."""
    column = 34
    wrapped = textwrap.wrap(right, width - column, break_on_hyphens=False) or [""]
    first = f"  {left:<{column - 2}}{wrapped.pop(0)}" if len(left) < column - 2 else f"  {left}"
    return "\n".join([first.rstrip(), *(" " * column + line for line in wrapped)])


def help_text(overrides: Sequence[str], config_dirs: Sequence[Path]) -> str:
    """What ``--help`` prints, as wide as the terminal: groups, and every key under the choices of a command line.

    Raises:
        HydraException, OmegaConfBaseException: an option or a key that does not exist.
    """
    width = max(60, min(110, shutil.get_terminal_size((80, 24)).columns))
    composed = compose(overrides, config_dirs, return_hydra_config=True)
    choices: Any = OmegaConf.to_container(composed.hydra.runtime.choices)
    config: Any = OmegaConf.to_container(composed, resolve=False)
    config.pop("hydra")
    nodes = dict(schema.walk(config))
    descriptions = describe(nodes, choices, [CONF, *map(Path, config_dirs)])
    text = [ABOUT.format(command=invocation("train")), "groups: choose one with group=option"]
    for group in sorted(
        {"teacher", *(path.name for path in CONF.iterdir() if path.is_dir())} - {"hydra", "__pycache__"}
    ):
        folders = [CONF / group.replace("teacher", "model"), *(Path(folder) / group for folder in config_dirs)]
        options = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
        text.append(textwrap.fill(f"  {group}: {', '.join(options)}", width, subsequent_indent="    "))
    for section in ("", *SECTIONS):
        keys = [key for key in descriptions if (key.partition(".")[0] if "." in key else "") == section]
        if keys:
            text.append(f"\n{section or 'seed, threads, ...'}: {SECTIONS.get(section, 'of the whole run')}")
            text += [_entry(f"{key}={_shown(nodes[key])}", descriptions[key], width) for key in keys]
    return "\n".join([*text, "", FLAGS])


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
