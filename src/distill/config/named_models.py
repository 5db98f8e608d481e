"""Models that a strategy names (``kd.teachers``, ``kd.assistants``, ``kd.peers``) become their configuration."""

from collections.abc import Callable
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from distill.utils.errors import UserError, nearest

LISTS = ("teachers", "assistants", "peers")


def load(name: str) -> dict[str, Any]:
    """The configuration of an option of the group ``model``; Hydra must be initialised.

    Raises:
        UserError: there is no such option.
    """
    loader = GlobalHydra.instance().config_loader()
    try:
        composed = loader.load_configuration("train", [f"model={name}"], RunMode.RUN)
    except MissingConfigException as error:
        options = error.options or loader.get_group_options("model")
        raise UserError(f"model has no option '{name}'; {nearest(name, options, shown=40)}") from error
    node = OmegaConf.to_container(composed.model, resolve=False)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}


def _expanded(entry: Any, key: str, load: Callable[[str], dict[str, Any]]) -> Any:
    if isinstance(entry, str):
        return load(entry)
    if isinstance(entry, dict) and "_target_" in entry:
        return entry
    if isinstance(entry, dict) and isinstance(entry.get("model"), str):
        return {**load(entry["model"]), **{k: v for k, v in entry.items() if k != "model"}}
    raise UserError(
        f"{key} must be a name of the group model, {{model: <name>, ...}} or a node with _target_, got {entry!r}"
    )


def expand(cfg: DictConfig, load: Callable[[str], dict[str, Any]] = load) -> None:
    """Replaces names of models in ``cfg.kd`` by their configuration, in place.

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
        cfg.kd[name] = [_expanded(entry, f"kd.{name}.{i}", load) for i, entry in enumerate(entries)]
