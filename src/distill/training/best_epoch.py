"""Which epoch's weights a training leaves: the best on validation, or the last."""

import copy
import logging
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from distill.config.schema import Node, TrainConfig
from distill.training.fit import FitResult
from distill.training.module import DistillationModule
from distill.utils.checkpoints import read_checkpoint

log = logging.getLogger(__name__)


def chosen_by(cfg: TrainConfig) -> Node | None:
    """What of the configuration chooses the epoch whose weights are kept; None: the last is kept."""
    nodes = [node for node in cfg.callbacks.values() if node and node.get("monitor")]
    found = next((node for node in nodes if str(node["_target_"]).endswith("Checkpoint")), None)
    if found is None or not cfg.load_best_model_at_end:
        return None
    return {
        **{key: found.get(key) for key in ("monitor", "mode")},
        **{key: getattr(cfg.trainer, key) for key in ("check_val_every_n_epoch", "limit_val_batches")},
    }


def prefer_later(callback: ModelCheckpoint) -> None:
    """Makes the later one of equal epochs the best: on few validation samples many are equal.

    Lightning keeps the first, whose learning rate was still high.
    """
    is_better = callback.check_monitor_top_k

    def is_as_good(trainer: Any, current: Tensor | None = None) -> bool:
        best = callback.best_model_score
        return is_better(trainer, current) or (current is not None and best is not None and bool(current == best))

    callback.check_monitor_top_k = is_as_good  # type: ignore[method-assign]


class Kept(NamedTuple):
    """The epochs (counted from 1) between which a finished training chose.

    Attributes:
        epoch: the one whose weights its module holds.
        best: the best on validation; None where no checkpoint of it is there.
        other: the module's state after the other one of last and best epoch; None where they are one, or unknown.
    """

    epoch: int
    best: int | None
    other: dict[str, Any] | None = None


def keep(module: DistillationModule, label: str, folder: Path, result: FitResult, load_best: bool) -> Kept:
    """Leaves the weights of the best epoch, or of the last one, in a module that was fitted.

    Peers stay at their last epoch: what is monitored is the student's.

    Args:
        module: with the weights of the last epoch.
        label: what was trained, for the terminal.
        folder: of the training.
        result: of the fit.
        load_best: whether the best epoch is wanted.
    """
    moved = folder / "checkpoints" / "best.ckpt"  # where the run's folder was moved
    paths = (Path(result.best), moved) if result.best is not None else ()
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        if load_best:
            log.info(f"{label}: kept epoch {result.epoch}, the last: there is no checkpoint of the best on validation")
        return Kept(result.epoch, None)
    checkpoint = read_checkpoint(path)
    best, state = checkpoint["epoch"] + 1, checkpoint["state_dict"]
    if load_best:
        log.info(f"{label}: kept epoch {best} of {result.epoch}, best on validation")
    if best == result.epoch:
        return Kept(best, best)
    if not load_best:
        return Kept(result.epoch, best, state)
    last = copy.deepcopy(module.state_dict())
    module.load_state_dict(state | {key: value for key, value in last.items() if key.startswith("peers.")})
    return Kept(best, best, last)
