"""The parameters of this package's classes and functions, read from their source without importing it.

A mistyped argument in a YAML file is so found in milliseconds, before torch loads.
"""

import ast
import re
from functools import cache
from pathlib import Path

from distill.config import PUBLIC_MODULES

PACKAGE = Path(__file__).parents[1]


@cache
def _module(dotted: str) -> ast.Module:
    """The parsed source of a module of this package, empty where there is none."""
    parts = PUBLIC_MODULES.get(dotted.removeprefix("distill."), dotted).split(".")[1:]
    for path in (PACKAGE.joinpath(*parts, "__init__.py"), PACKAGE.joinpath(*parts).with_suffix(".py")):
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"))
    return ast.Module([], [])


def _find(dotted: str, name: str) -> ast.stmt | None:
    """The definition of ``name`` in a module, imports within the package followed."""
    for node in _module(dotted).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("distill"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(node.module, alias.name)
    return None


def names_in(dotted: str) -> list[str]:
    """The public names of a module of this package."""
    names: list[str] = []
    for node in _module(dotted).body:
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
    if isinstance(node, ast.ClassDef):
        methods = (item for item in node.body if isinstance(item, ast.FunctionDef))
        init = next((method for method in methods if method.name == "__init__"), None)
        if init is None and not node.bases:  # a dataclass
            return [i.target.id for i in node.body if isinstance(i, ast.AnnAssign) and isinstance(i.target, ast.Name)]
        node = init
    if not isinstance(node, ast.FunctionDef) or node.args.kwarg is not None:
        return None
    return _arguments(node)


def _arguments(node: ast.FunctionDef) -> list[str]:
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return [name for name in names if name != "self"]


def reads(target: str) -> list[str] | None:
    """What a loss of this package is given: the parameters of its ``forward``; None where the source does not say."""
    module, _, name = target.rpartition(".")
    node = _find(module, name) if target.startswith("distill.") else None
    functions = [node] if isinstance(node, ast.FunctionDef) else []
    if isinstance(node, ast.ClassDef):
        functions = [item for item in node.body if isinstance(item, ast.FunctionDef)]
        functions = [item for item in functions if item.name in ("forward", "pretraining_loss")]
    if any(each.args.vararg or each.args.kwarg for each in functions):
        return None
    return [name for each in functions for name in _arguments(each)] or None


def documentation(target: str) -> tuple[str, dict[str, str]]:
    """The first line of the docstring of ``distill.<module>.<name>``, and its ``Args``; empty for other targets."""
    module, _, name = target.rpartition(".")
    node = _find(module, name) if target.startswith("distill.") else None
    text = (ast.get_docstring(node) or "") if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
    section = re.search(r"^Args:\n((?: {4}.*\n?|\n)*)", text, re.MULTILINE)
    entries = re.findall(r"^ {4}([\w, ]+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    arguments = {name: " ".join(about.split()) for names, about in entries for name in names.split(", ")}
    return text.partition("\n")[0], arguments
