"""The parameters of this package's classes and functions, read from their source without importing it.

A mistyped argument in a YAML file is so found in milliseconds, before torch loads.
"""

import ast
from functools import cache
from pathlib import Path

from distill.config.public_modules import PUBLIC_MODULES

PACKAGE = Path(__file__).parents[1]


@cache
def _module(dotted: str) -> ast.Module | None:
    """The parsed source of a module of this package."""
    parts = PUBLIC_MODULES.get(dotted.removeprefix("distill."), dotted).split(".")[1:]
    for path in (PACKAGE.joinpath(*parts, "__init__.py"), PACKAGE.joinpath(*parts).with_suffix(".py")):
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _arguments(function: ast.FunctionDef, skip: int) -> list[str] | None:
    """Names of the parameters; None where it takes any keyword."""
    spec = function.args
    if spec.kwarg is not None:
        return None
    return [a.arg for a in [*spec.posonlyargs, *spec.args][skip:] + spec.kwonlyargs]


def _find(dotted: str, name: str) -> ast.stmt | None:
    """The definition of ``name`` in a module, imports within the package followed."""
    module = _module(dotted)
    for node in module.body if module else []:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("distill"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(node.module, alias.name)
    return None


def names_in(dotted: str) -> list[str]:
    """The public names of a module of this package."""
    module = _module(dotted)
    names: list[str] = []
    for node in module.body if module else []:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.ImportFrom):
            names += [alias.asname or alias.name for alias in node.names]
    return sorted(name for name in set(names) if not name.startswith("_"))


def exists(target: str) -> bool:
    """Whether ``distill.<module>.<name>`` is defined."""
    module, _, name = target.rpartition(".")
    return _find(module, name) is not None


def parameters(target: str) -> list[str] | None:
    """Keyword parameters of ``distill.<module>.<name>``; None where they cannot be told from the source."""
    module, _, name = target.rpartition(".")
    node = _find(module, name)
    if isinstance(node, ast.FunctionDef):
        return _arguments(node, skip=0)
    if isinstance(node, ast.ClassDef):
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                return _arguments(item, skip=1)
        if not node.bases:
            return [i.target.id for i in node.body if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name)]
    return None
