"""One node of the configuration becomes an object; its mistakes become one line."""

import inspect
import logging
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate as hydra_instantiate

from distill.config import own_code
from distill.config.nodes import RESERVED
from distill.utils import arguments
from distill.utils.errors import UserError, first_line, nearest

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # what it logs is in the error that it raises

ALIASES = {  # other names of what the data determine, as constructors have them
    "num_classes": ("n_classes", "nclasses", "num_labels", "classes", "num_outputs", "out_features"),
    "in_channels": ("in_chans", "input_channels"),
    "image_size": ("img_size",),
}
_NUMBERS = (int, float, int | None, float | None)


def _parameter_for(key: str, known: dict[str, inspect.Parameter]) -> str | None:
    """The parameter that takes an optional argument: its own name, or another name of it for a whole number."""
    if key in known:
        return key
    fitting = (known[alias] for alias in ALIASES.get(key, ()) if alias in known)
    return next((p.name for p in fitting if p.annotation is p.empty or "int" in str(p.annotation)), None)


def _root_cause(error: BaseException) -> BaseException:
    """The error that the wrappers around it hide."""
    while not isinstance(error, UserError):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    return error


def resolve_target(node: dict[str, Any], path: str) -> Any:
    """What a node's ``_target_`` names.

    Raises:
        UserError: it cannot be imported.
    """
    try:
        return get_object(node["_target_"])
    except Exception as error:
        name, cause = node["_target_"], first_line(_root_cause(error))
        raise UserError(f"{path}._target_: cannot import '{name}': {cause}{own_code.hint(name)}") from error


def takes(node: dict[str, Any], name: str) -> bool:
    """Whether what a node names has itself a parameter of that name."""
    try:
        return name in inspect.signature(resolve_target(node, name)).parameters
    except ValueError:  # a builtin without a signature
        return False


def check(node: dict[str, Any], path: str) -> dict[str, inspect.Parameter]:
    """Checks that a node's target is there and takes its arguments, without making the object.

    Returns:
        The target's parameters, as far as they are known.

    Raises:
        UserError: a target that cannot be imported or called, arguments it does not take.
    """
    target = resolve_target(node, path)
    try:
        known = dict(inspect.signature(target).parameters)
    except ValueError:  # a builtin without a signature
        return {}
    except TypeError as error:
        kind = type(target).__name__
        raise UserError(f"{path}._target_: {node['_target_']} is a {kind}, which cannot be called") from error
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return known
    for key in node:
        if key not in RESERVED and key not in known:
            raise UserError(f"{path}: {node['_target_']} takes no '{key}'; {nearest(key, known)}")
    return known


def instantiate(node: dict[str, Any], path: str, **optional: Any) -> Any:
    """Instantiates one node.

    Args:
        node: ``_target_`` and its arguments.
        path: the node's dotted key, for error messages.
        optional: arguments that are passed on if the target takes them, perhaps by another name (``ALIASES``), and
            the node does not set them.

    Raises:
        UserError: a target that cannot be imported, arguments it does not take, values it refuses.
    """
    name, known = node["_target_"], check(node, path)
    for key in node:
        if isinstance(node[key], str) and key in known and known[key].annotation in _NUMBERS:
            raise UserError(f"{path}.{key} must be a number, got {node[key]!r}")
    taken = {_parameter_for(key, known): value for key, value in optional.items()}
    extra = {key: value for key, value in taken.items() if key is not None and key not in node}
    try:
        return hydra_instantiate(node, **extra, _convert_="all")
    except InstantiationException as error:
        cause = _root_cause(error)
        if isinstance(cause, UserError):
            raise cause from error
        hands_on = any(p.kind is p.VAR_KEYWORD for p in known.values())
        lacks = [key for key in optional if hands_on and key not in known and str(cause).endswith(repr(key))]
        hint = f"; it takes **kwargs and so is told nothing: name {lacks[0]} in its signature" if lacks else ""
        raise UserError(f"{path}: {name}: {arguments.refusal(cause) or first_line(cause)}{hint}") from error
