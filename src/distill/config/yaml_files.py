"""YAML files of the user's own, before Hydra reads them."""

from pathlib import Path

import yaml

from distill.utils.errors import UserError

MOST_VALUES = 100_000  # of a file, its aliases written out


def check(folder: str | Path | None) -> None:
    """Checks the files of ``--config-dir``: a few lines of aliases of aliases can stand for gigabytes.

    Raises:
        UserError: a file of more than ``MOST_VALUES`` values, or with an alias within what it stands for.
    """
    for file in sorted(path for path in Path(folder).rglob("*.yaml") if path.is_file()) if folder else []:
        try:
            text = file.read_text(encoding="utf-8")
            node = yaml.compose(text, yaml.SafeLoader) if "*" in text else None
        except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):  # Hydra's error says why
            continue
        if node is not None and _values(node, {}) > MOST_VALUES:
            raise UserError(f"{file} has aliases that stand for more than {MOST_VALUES} values")


def _values(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node has, each alias counted as what it stands for; infinity within itself."""
    if id(node) not in known:
        known[id(node)] = float("inf")
        inner = [item for pair in node.value for item in pair] if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_values(item, known) for item in inner if isinstance(item, yaml.Node))
    return known[id(node)]
