"""The configuration that a command line composes."""

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from distill.config import named_models, schema
from distill.config.command_line import quoted

CONF = Path(__file__).resolve().parents[1] / "conf"


def compose(
    overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = (), return_hydra_config: bool = False
) -> DictConfig:
    """The configuration of ``python train.py <overrides>``.

    Args:
        overrides: as on the command line.
        config_dirs: folders with the user's YAML files.
        return_hydra_config: whether to include the node ``hydra``.

    Raises:
        HydraException, OmegaConfBaseException: an option or a key that does not exist, a value of another type.
    """
    others = GlobalHydra.instance().hydra  # of an application that uses this package
    GlobalHydra.instance().clear()
    schema.register()
    folders = ",".join(quoted(f"file://{Path(folder).resolve()}") for folder in config_dirs)
    search_path = [f"hydra.searchpath=[{folders}]"] if folders else []
    try:
        with hydra.initialize_config_module("distill.conf", version_base="1.3"):
            cfg = hydra.compose("train", overrides=[*overrides, *search_path], return_hydra_config=return_hydra_config)
            named_models.expand(cfg)
    finally:
        GlobalHydra.instance().clear()
        if others is not None:
            GlobalHydra.instance().initialize(others)
    return cfg
