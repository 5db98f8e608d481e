"""The navigation of ``mkdocs.yml`` beside the pages that are there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads ``!!python/name:...``, a function for a Markdown extension, as its name."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda _loader, suffix, _node: suffix)


def _leaves(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    else:
        for each in node if isinstance(node, list) else node.values():
            yield from _leaves(each)


def faults(config: Path, folder: Path) -> list[str]:
    """Pages that the navigation lacks, and entries without a page."""
    named = set(_leaves(yaml.load(config.read_text(encoding="utf-8"), _Loader)["nav"]))
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.md")}
    return [
        *(f"mkdocs.yml: nav has {name}, which is no page" for name in sorted(named - there)),
        *(f"mkdocs.yml: nav lacks {name}" for name in sorted(there - named)),
    ]
