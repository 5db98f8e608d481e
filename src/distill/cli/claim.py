"""A run's folder belongs to one run, which is recorded in it."""

from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from distill.config import command_line, key_sets, schema
from distill.utils.atomic import write_text
from distill.utils.errors import UserError


def user_config_dir() -> str | None:
    """The folder of ``--config-dir`` of this process's command; Hydra must be initialised."""
    sources = HydraConfig.get().runtime.config_sources
    return next((str(source.path) for source in sources if source.provider == "command-line"), None)


def task_overrides() -> list[str]:
    """The overrides of this job without ``resume=``."""
    return [o for o in HydraConfig.get().overrides.task if not o.startswith(f"{command_line.RESUME}=")]


def claim(cfg: dict[str, Any], folder: Path, sweep: bool) -> bool:
    """Records the run in its folder: its resolved configuration (``config.yaml``), and the command that continues it.

    A resumed run goes on as it was; only what does not shape the result (``key_sets.FREE``) may change. So does a
    job of a sweep whose folder holds it already: the same command runs what is missing.

    Returns:
        Whether the folder held this run before.

    Raises:
        UserError: the folder holds another run, or the resumed one was configured differently.
    """
    claimed = folder / "config.yaml"
    if not claimed.exists():
        command = {"overrides": task_overrides(), "config_dir": user_config_dir()}
        write_text(folder / command_line.RECORD, OmegaConf.to_yaml(OmegaConf.create(command)))
        write_text(claimed, OmegaConf.to_yaml(OmegaConf.create(_plain(cfg))))  # last: whoever sees it finds the other
        return False
    if cfg["resume"] is None and not sweep:
        raise UserError(
            f"{folder} holds a run already: continue it with "
            f"resume={command_line.hydra_value(str(folder))}, or choose another folder"
        )
    recorded = schema.leaves(OmegaConf.to_container(OmegaConf.load(claimed)))
    before = {command_line.current_name(key): value for key, value in recorded}
    now = dict(schema.leaves(_plain(cfg)))
    for key in sorted({*before, *now}):
        if not key.startswith(key_sets.FREE) and before.get(key) != now.get(key):
            raise UserError(
                f"resume continues a run as it was: {key} was {before.get(key)!r} and is {now.get(key)!r} now; "
                "start a new run for another setting"
                if cfg["resume"] is not None
                else f"{folder} holds another run: {key} was {before.get(key)!r} and is {now.get(key)!r} now; "
                "choose another hydra.sweep.dir"
            )
    return True


def _plain(cfg: Any) -> Any:
    """The configuration in plain YAML types."""
    if isinstance(cfg, dict):
        return {str(key): _plain(value) for key, value in cfg.items()}
    return [_plain(value) for value in cfg] if isinstance(cfg, list) else cfg.name if isinstance(cfg, Enum) else cfg
