"""The page on every key of the configuration, made from the schema, the YAML files and the text of ``--help``."""

import dataclasses
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf

from distill.config import CONF, schema
from distill.config.compose import compose
from distill.config.help_text import SECTIONS, comments, describe
from distill.utils.console import markdown_table
from docs_site.key_facts import TYPES, UNITS

ABOUT = """\
# Configuration

Every key of `python train.py`, as `key=value` on the command line. This page is made from the schema
(`distill.config.schema`), the YAML files and the text of `python train.py --help` when the site is built. "number
or schedule" is a number or one that follows the epochs ([Schedules](methods.md#schedules)); "node" is a mapping, whose
`_target_` names a class. A default of `null` is chosen as the last column says; `${...}` follows another key.
"""
TERMS = """\
The terms of a method stand under names of their own: `kd=dkd` has `kd.terms.dkd`. `weight` and every number of `loss`
may be schedules.
"""
OPTIONS = """\
## Options of the groups

What the file of each option sets: keys that the default configuration does not have, or has with another value.
"""
WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", dict: "node", list: "list"}


@dataclass(frozen=True)
class Row:
    """A key of the configuration."""

    key: str
    type: str
    default: Any
    unit: str
    about: str


def schema_fields() -> dict[str, Any]:
    """The type of every key that the schema has, by dotted key; of terms under ``kd.terms.<name>``."""

    def walk(cls: type[Any], prefix: str) -> Iterator[tuple[str, Any]]:
        hints = get_type_hints(cls)
        for field in dataclasses.fields(cls):
            inner = [
                each for each in (hints[field.name], *get_args(hints[field.name])) if dataclasses.is_dataclass(each)
            ]
            if inner:
                name = f"{prefix}{field.name}." + ("<name>." if get_origin(hints[field.name]) is dict else "")
                yield from walk(inner[0], name)  # type: ignore[arg-type]
            else:
                yield f"{prefix}{field.name}", hints[field.name]

    return {**dict(walk(schema.TrainConfig, "")), **dict(walk(schema.RecipeConfig, "teacher.recipe."))}


def _fact(table: dict[str, str], key: str) -> str | None:
    return table.get(key, table.get(key.rpartition(".")[2]))


def type_words(key: str, hint: Any, default: Any) -> str:
    """A type in words: by the schema's hint, else by ``key_facts``, else by the default."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    known = [each for each in options if each not in (type(None), None, Any)]
    if not known:
        return _fact(TYPES, key) or (WORDS.get(type(default), "") if default is not None else "")
    kind = known[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " or ".join(each.name for each in kind)
    if get_origin(kind) is list:
        return f"list of {WORDS[get_args(kind)[0]]}s"
    return WORDS[get_origin(kind) or kind]


def _composed(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every node and value of a configuration by its key, and the options that were chosen."""
    config = compose(list(overrides), [], return_hydra_config=True)
    choices: Any = OmegaConf.to_container(config.hydra.runtime.choices)
    plain: Any = OmegaConf.to_container(config, resolve=False)
    del plain["hydra"]
    return dict(schema.walk(plain)), choices


def rows() -> list[Row]:
    """Every key of the default configuration; those of its term under ``kd.terms.<name>``, its loss left out."""
    nodes, choices = _composed()
    about = describe(nodes, choices, [CONF])
    fields = schema_fields()
    of_terms = comments(textwrap.dedent(inspect.getsource(schema.TermConfig)))
    made: dict[str, Row] = {}
    for key, text in about.items():
        default = nodes[key]
        name = key.replace("kd.terms.kd.", "kd.terms.<name>.")
        if name.startswith("kd.terms.<name>.loss."):
            continue
        if name.startswith("kd.terms.<name>."):
            text = of_terms[name.removeprefix("kd.terms.<name>.")]
        made[name] = Row(name, type_words(name, fields.get(name), default), default, _fact(UNITS, name) or "", text)
    made["kd.terms.<name>.loss"] = Row("kd.terms.<name>.loss", "node", "???", "", of_terms["loss"])
    return list(made.values())


def section_of(key: str) -> str:
    """The table that a key stands in."""
    for prefix in ("kd.terms.<name>", "teacher.recipe", "data.augment"):
        if key.startswith(f"{prefix}."):
            return prefix
    return key.partition(".")[0] if "." in key else ""


def value_words(value: Any) -> str:
    """A default as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _text(text: str) -> str:
    """A text without what HTML would read."""
    return text.replace("<", "&lt;")


def _code(text: str) -> str:
    return f"`{text}`"


def _sections() -> Iterator[str]:
    found = rows()
    titles = {
        "": ("The whole run", "keys without a group"),
        **{name: (f"`{name}`", about) for name, about in SECTIONS.items()},
        "task": ("`task`", "what is predicted"),
        "kd.terms.<name>": ("`kd.terms.<name>`", "a term of the method"),
        "teacher.recipe": ("`teacher.recipe`", "how a teacher without a checkpoint is trained"),
        "data.augment": ("`data.augment`", "random changes of training images"),
    }
    order = ["", "model", "teacher", "teacher.recipe", "data", "data.augment", "task", "kd", "kd.terms.<name>"]
    order += [name for name in titles if name not in order]
    assert {section_of(row.key) for row in found} <= set(order), "a key without a section"
    for name in order:
        title, about = titles[name]
        lines = [
            (_code(row.key), row.type, _code(value_words(row.default)), row.unit, _text(row.about))
            for row in found
            if section_of(row.key) == name
        ]
        yield f"## {title}\n\n{about[0].upper()}{about[1:]}.\n"
        if name == "kd.terms.<name>":
            yield TERMS
        yield markdown_table([("key", "type", "default", "unit", "what it does"), *lines]) + "\n"


def option_values(group: str, text: str) -> dict[str, Any]:
    """Every node and value that the YAML file of an option sets, by its key in the whole configuration."""
    content: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    content.pop("defaults", None)
    prefix = "" if "@package _global_" in text else f"{group.replace('/', '.')}."
    return dict(schema.walk(content, prefix))


def groups() -> list[str]:
    """The config groups that have options here: ``model``, ``hydra/launcher``, ..."""
    return sorted({str(file.parent.relative_to(CONF)) for file in CONF.glob("*/**/*.yaml")})


def _group_options() -> Iterator[str]:
    base, choices = _composed()
    for group in groups():
        yield f"### Options of `{group}`\n"
        for file in sorted((CONF / group).glob("*.yaml")):
            text = file.read_text(encoding="utf-8")
            head = next(line for line in text.splitlines() if line.startswith("# ") and "@package" not in line)
            yield f"**`{group}={file.stem}`**: {_text(head.removeprefix('# ').rstrip('.'))}.\n"
            nodes = option_values(group, text)
            own = {f"{group.replace('/', '.')}.{key}": comment for key, comment in comments(text).items()}
            about = describe(nodes, choices | {group: file.stem}, [CONF])
            changed = [
                (_code(key), _code(value_words(nodes[key])), _text(own.get(key) or about[key]))
                for key in about
                if key not in base or base[key] != nodes[key]
            ]
            if changed:
                yield markdown_table([("key", "value", "what it does"), *changed]) + "\n"


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([ABOUT, *_sections(), OPTIONS, *_group_options()])
