"""A run's folder belongs to one run, which is recorded in it."""

import re
import sys
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from distill.config import command_line, key_sets, schema
from distill.utils.atomic import write_text
from distill.utils.checked import write_yaml
from distill.utils.errors import UserError
from distill.utils.invocation import shell_word
from distill.utils.run_lock import LOCK, STATUS

BEST = "load_best_model_at_end"
CONFIG = "config.yaml"
_BEFORE_TRAINING = {".hydra", "train.log", LOCK, STATUS, CONFIG, command_line.RECORD}  # all that a folder holds then


def user_config_dir() -> str | None:
    """The folder of ``--config-dir`` of this process's command, as it was given."""
    return command_line.config_dir(sys.argv[1:])


def task_overrides() -> list[str]:
    """The overrides of this job without ``resume=``."""
    return [o for o in HydraConfig.get().overrides.task if not o.startswith(f"{command_line.RESUME}=")]


def discard(folder: Path) -> None:
    """Removes the folder of a command that was refused, and that of its day, where they hold nothing else."""
    if any(path.name not in _BEFORE_TRAINING for path in folder.iterdir()) or folder.samefile("."):
        return
    for path in [*(folder / ".hydra").glob("*.yaml"), *(folder / name for name in _BEFORE_TRAINING)]:
        with suppress(OSError):  # it is not there, or holds what the command has not written
            path.rmdir() if path.is_dir() else path.unlink()
    with suppress(OSError):
        folder.rmdir()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", folder.parent.name):
        with suppress(OSError):  # it holds others
            folder.parent.rmdir()


def claim(cfg: DictConfig, folder: Path, sweep: bool) -> bool:
    """Records the run in its folder: its resolved configuration (``config.yaml``), and the command that continues it.

    A resumed run goes on as it was; only what does not shape the result (``key_sets.FREE``) may change. So does a
    job of a sweep whose folder holds it already: the same command runs what is missing.

    Returns:
        Whether the folder held this run before.

    Raises:
        UserError: the folder holds another run, or the resumed one was configured differently.
    """
    claimed = folder / CONFIG
    if not claimed.exists():
        command = {"overrides": task_overrides(), "config_dir": user_config_dir()}
        write_yaml(folder / command_line.RECORD, OmegaConf.to_yaml(OmegaConf.create(command)))
        write_text(claimed, OmegaConf.to_yaml(cfg, resolve=True))  # last: whoever sees it finds the other
        return False
    if cfg.resume is None and not sweep:
        raise UserError(
            f"{folder} holds a run already: continue it with "
            f"{shell_word(f'resume={command_line.hydra_value(str(folder))}')}, or choose another folder"
        )
    recorded = schema.leaves(command_line.read_yaml(claimed))
    before = {command_line.current_name(key): value for key, value in recorded}
    if BEST not in before:  # a run of a version that kept the last epoch
        cfg[BEST] = before[BEST] = False
    for key in key_sets.LEFT_TO_THE_DATA:
        if OmegaConf.select(cfg, key) is None and before.get(key) is not None:
            OmegaConf.update(cfg, key, before[key])
    now = dict(schema.leaves(OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)))
    for key in sorted({*before, *now}):
        if not key.startswith(key_sets.FREE) and before.get(key) != now.get(key):
            change = f"{key} was {before.get(key)!r} and is {now.get(key)!r} now"
            if cfg.resume is not None:
                raise UserError(f"resume continues a run as it was: {change}; start a new run for another setting")
            raise UserError(f"{folder} holds another run: {change}; choose another hydra.sweep.dir")
    return True
