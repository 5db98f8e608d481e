"""The configuration that a command line composes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from distill.config import named_models, schema, yaml_files
from distill.config.command_line import with_new_terms
from distill.config.paths import expand_home, quoted

ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError)  # of composing; distill.config.explain words them


@contextmanager
def separate_hydra() -> Iterator[None]:
    """Hydra as in a new process; afterwards as it was, for an application of Hydra that uses this package."""
    hydra_before, config_before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        if hydra_before is not None:
            GlobalHydra.instance().initialize(hydra_before)
        HydraConfig.instance().cfg = config_before


def not_text(folder: str | Path | None) -> Path | None:
    """The first YAML file of ``--config-dir`` that is no text in UTF-8: Hydra's error does not name it."""
    for file in sorted(path for path in Path(folder).rglob("*.yaml") if path.is_file()) if folder else []:
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return file
    return None


def compose(
    overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = (), return_hydra_config: bool = False
) -> DictConfig:
    """The configuration of ``python train.py <overrides>``.

    Args:
        overrides: as on the command line.
        config_dirs: folders with the user's YAML files.
        return_hydra_config: whether to include the node ``hydra``.

    Raises:
        ERRORS: an option or a key that does not exist, a value of another type, a file that is no YAML.
    """
    schema.register()
    for folder in config_dirs:
        yaml_files.check(folder)
    folders = ",".join(quoted(f"file://{Path(folder).resolve()}") for folder in config_dirs)
    search_path = [f"hydra.searchpath=[{folders}]"] if folders else []
    with separate_hydra(), hydra.initialize_config_module("distill.conf", version_base="1.3"):
        cfg = hydra.compose(
            "train", overrides=with_new_terms([*overrides, *search_path]), return_hydra_config=return_hydra_config
        )
        named_models.expand(cfg)
        expand_home(cfg)
    return cfg
