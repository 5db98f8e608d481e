"""Models that a strategy names (``kd.teachers``, ``kd.assistants``, ``kd.peers``) become their configuration."""

from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from distill.config.schema import KDConfig, Node
from distill.utils.errors import UserError, unknown_option

LISTS = ("teachers", "assistants", "peers")


def _load(name: str) -> Node:
    """The configuration of an option of the group ``model``."""
    loader = GlobalHydra.instance().config_loader()
    try:
        composed = loader.load_configuration("train", [f"model={name}"], RunMode.RUN)
    except MissingConfigException as error:
        options = error.options or loader.get_group_options("model")
        raise UserError(unknown_option("model", name, options)) from error
    node: Any = OmegaConf.to_container(composed.model, resolve=False)
    return dict(node)


def _expanded(entry: Any, key: str) -> Node:
    if isinstance(entry, str):
        return _load(entry)
    if isinstance(entry, dict) and "_target_" in entry:
        return entry
    if isinstance(entry, dict) and isinstance(entry.get("model"), str):
        return {**_load(entry["model"]), **{k: v for k, v in entry.items() if k != "model"}}
    raise UserError(
        f"{key} must be a name of the group model, {{model: <name>, ...}} or a node with _target_, got {entry!r}"
    )


def check(kd: KDConfig) -> None:
    """A UserError unless the models of every list are nodes, as :func:`expand` makes them: a record may be edited."""
    for name in LISTS:
        entries = getattr(kd, name)
        if entries is not None and not isinstance(entries, list):
            raise UserError(f"kd.{name} must be a list of models, got {entries!r}")
        for i, node in enumerate(entries or ()):
            if not (isinstance(node, dict) and "_target_" in node):
                raise UserError(f"kd.{name}.{i} must be {{_target_: package.module.Class, ...}}, got {node!r}")


def expand(cfg: DictConfig) -> None:
    """Replaces names of models in ``cfg.kd`` by their configuration, in place; Hydra must be initialised.

    An entry is an option of the group ``model`` (``resnet14``), one with changes
    (``{model: timm, name: resnet10t}``, of a teacher also ``checkpoint``), or a node with ``_target_``.

    Raises:
        UserError: an entry that is none of these, an option that does not exist, or no list.
    """
    resolved: Any = OmegaConf.to_container(cfg.kd, resolve=True) if cfg.kd else {}
    for name in LISTS:
        entries = resolved.get(name)
        if entries is None:
            continue
        if not isinstance(entries, list):
            raise UserError(f"kd.{name} must be a list of models, got {entries!r}")
        cfg.kd[name] = [_expanded(entry, f"kd.{name}.{i}") for i, entry in enumerate(entries)]
