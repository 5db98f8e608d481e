"""One node of the configuration becomes an object; its mistakes become one line."""

import inspect
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate as hydra_instantiate

from distill.config.validation import RESERVED
from distill.utils.errors import UserError, first_line, nearest


def _root_cause(error: BaseException) -> BaseException:
    """The error that the wrappers around it hide."""
    while not isinstance(error, UserError):
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is None:
            break
        error = cause
    return error


def instantiate(node: dict[str, Any], path: str, **optional: Any) -> Any:
    """Instantiates one node.

    Args:
        node: ``_target_`` and its arguments.
        path: the node's dotted key, for error messages.
        optional: arguments that are passed on if the target takes them and the node does not set them.

    Raises:
        UserError: a target that cannot be imported, arguments it does not take, values it refuses.
    """
    name = node["_target_"]
    try:
        target = get_object(name)
    except Exception as error:
        raise UserError(f"{path}._target_: cannot import '{name}': {first_line(_root_cause(error))}") from error
    try:
        known = dict(inspect.signature(target).parameters)
    except ValueError:  # a builtin without a signature
        known = {}
    anything = not known or any(p.kind is p.VAR_KEYWORD for p in known.values())
    for key in node:
        if key not in RESERVED and not anything and key not in known:
            raise UserError(f"{path}: {name} takes no '{key}'; {nearest(key, known)}")
    extra = {key: value for key, value in optional.items() if key in known and key not in node}
    try:
        return hydra_instantiate(node, **extra, _convert_="all")
    except InstantiationException as error:
        cause = _root_cause(error)
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(f"{path}: {name}: {first_line(cause)}") from error
