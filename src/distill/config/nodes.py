"""A node of the configuration: ``_target_`` and its arguments."""

import re

from distill.config import signatures
from distill.config.schema import Node
from distill.utils.errors import UserError, check_choice, nearest

RESERVED = ("_target_", "_partial_", "_args_", "_convert_", "_recursive_")
MODEL_KEYS = ("backbone",)  # of every model's node, unless its class has an argument of that name
SEEING_KEYS = ("preprocess",)  # likewise, of a teacher's
TEACHER_KEYS = ("checkpoint", "recipe")


def is_model(path: str) -> bool:
    """Whether a dotted key is that of a model's node; a flow of one's own may hold some anywhere."""
    return re.fullmatch(r"model|teacher|kd\.(teachers|assistants|peers)\.\d+|kd\.flow\..+", path) is not None


def is_teacher(path: str) -> bool:
    """Whether it is a node of a model that may have a recipe of its own."""
    return re.fullmatch(r"teacher|kd\.teachers\.\d+", path) is not None


def check_node(path: str, node: Node) -> None:
    """Checks one ``_target_``, what Hydra reads beside it, and the names of its arguments.

    Args:
        path: the node's dotted key.
        node: ``_target_`` and its arguments.

    Raises:
        UserError: the first that is wrong; of targets of other packages the arguments are not known here.
    """
    target = node["_target_"]
    if not isinstance(target, str) or "." not in target:
        raise UserError(f"{path}._target_ must be a dotted name (package.module.Class), got {target!r}")
    for key in ("_partial_", "_recursive_"):
        if not isinstance(node.get(key, True), bool):
            raise UserError(f"{path}.{key} must be true or false, got {node[key]!r}")
    check_choice(f"{path}._convert_", node.get("_convert_", "all"), ("none", "partial", "object", "all"))
    if not isinstance(node.get("_args_", []), list):
        raise UserError(f"{path}._args_ must be a list, got {node['_args_']!r}")
    if not target.startswith("distill."):
        return
    if not signatures.exists(target):
        module, _, name = target.rpartition(".")
        raise UserError(f"{path}._target_: {module} has no '{name}'; {nearest(name, signatures.names_in(module))}")
    allowed = signatures.parameters(target)
    extra = (
        *(MODEL_KEYS if is_model(path) else ()),
        *((*TEACHER_KEYS, *SEEING_KEYS) if is_teacher(path) else ()),
    )
    for key in node:
        if allowed is not None and key not in allowed and key not in RESERVED and key not in extra:
            raise UserError(f"{path}: {target} takes no '{key}'; {nearest(key, allowed)}")
