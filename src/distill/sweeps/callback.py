"""Hydra's hook at the start of a multirun."""

import math
import os
import sys
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from distill import argv
from distill.sweeps import record
from distill.sweeps.jobs import SWEEP

current: Path | None = None  # the folder of the sweep that this process has begun
_before: str | None = None  # its ``sweep.yaml`` of earlier


def undo() -> None:
    """Puts back the ``sweep.yaml`` of a sweep that a wrong command would have continued."""
    if current is not None and _before is not None:
        (current / SWEEP).write_text(_before)


def total(overrides: list[str], sweeper: dict[str, Any]) -> int | None:
    """How many jobs a multirun has: the product of its choices, or the sweeper's ``n_trials``.

    Returns:
        None where nobody knows, as of a search with a ``storage`` where other commands may run some of the trials.

    Example:
        >>> total(["kd.T=1,2,4", "seed=range(0,2)", "kd=none"], {})
        6
    """
    if "n_trials" in sweeper:
        trials = sweeper["n_trials"]
        return trials if isinstance(trials, int) and sweeper.get("storage") is None else None
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None  # for glob(*)
    last = {o.get_key_element(): o for o in OverridesParser.create(loader).parse_overrides([*params, *overrides])}
    swept = [override for override in last.values() if override.is_sweep_override()]
    if not all(override.is_discrete_sweep() for override in swept):
        return None
    return math.prod(sum(1 for _ in override.sweep_string_iterator()) for override in swept)


class SweepRecord(Callback):
    """Writes ``sweep.yaml`` before the first job."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Once, in the process that launches the jobs."""
        global current, _before
        HydraConfig.instance().set_config(config)
        current = Path(os.path.relpath(config.hydra.sweep.dir))
        _before = (current / SWEEP).read_text() if (current / SWEEP).is_file() else None
        sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
        command = argv.record(sys.argv[1:])
        launcher = str(config.hydra.runtime.choices.get("hydra/launcher"))
        record.begin(current, command, launcher, total(command["overrides"], sweeper))
