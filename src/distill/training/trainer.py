"""Lightning's Trainers for training and evaluation, and the checks of their device."""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch import profilers
from lightning.pytorch.callbacks import ModelCheckpoint

from distill.config.instantiate import check, instantiate
from distill.config.schema import Node, TrainConfig, TrainerConfig
from distill.data import DataModule
from distill.tasks.info import Metric
from distill.training.best_epoch import prefer_later
from distill.training.callbacks import DataWait, FiniteLoss, GracefulStop
from distill.training.progress import EpochLine, TrainingBar, bar_is_shown
from distill.utils import distributed, processes
from distill.utils.checkpoint_io import AtomicCheckpointIO
from distill.utils.errors import UserError
from distill.utils.precision import uses_cuda

EVALUATION = ("accelerator", "limit_val_batches", "limit_test_batches")  # arguments of a Trainer that evaluates


def check_device(accelerator: str, devices: Any) -> None:
    """Raises a UserError for a device that this machine does not have."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    names = ", ".join(name for name, is_available in available.items() if is_available)
    wanted = {"gpu": "cuda" if not available["mps"] else "mps"}.get(accelerator, accelerator)
    if wanted in available and not available[wanted]:
        raise UserError(f"trainer.accelerator={accelerator}: no such device on this machine; there is: {names}")
    count = torch.cuda.device_count()
    highest = max(devices) + 1 if isinstance(devices, list) else int(devices) if devices != "auto" else 1
    if uses_cuda(accelerator) and highest > count:
        raise UserError(f"trainer.devices={devices}: this machine has {count} CUDA device(s)")


def quiet() -> None:
    """Silences Lightning's messages about choices that are deliberate here."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # compiling, CUDA's toolkit without a GPU
    for message in (
        ".*does not have many workers.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*Experiment logs directory .* exists and is not empty.*",
        ".*is deprecated and will be removed.*",
        ".*could not find the monitored key in the returned metrics.*",  # epochs without validation
        ".*LeafSpec.* is deprecated.*",
        ".*Found .* module\\(s\\) in eval mode at the start of training.*",
        ".*It is recommended to use `self.log.*sync_dist=True.*",  # what is logged is the same in all processes
        ".*find_unused_parameters=True was specified.*",
        ".*srun. command is available on your system but is not used.*",  # one process is meant
    ):
        warnings.filterwarnings("ignore", message)


class Unprofiled(profilers.PassThroughProfiler):
    """A ``PassThroughProfiler`` without the generator it makes for each of Lightning's hundred calls per step."""

    _context = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self._context


def _profiler(name: str | None, folder: Path) -> Any:
    """A profiler that writes its report into the folder, as its messages are not shown (see :func:`quiet`)."""
    if name is None:
        return Unprofiled()
    kinds = {"simple": "SimpleProfiler", "advanced": "AdvancedProfiler", "pytorch": "PyTorchProfiler"}
    return getattr(profilers, kinds[name])(dirpath=folder, filename="profile")


def check_arguments(trainer: TrainerConfig) -> None:
    """Raises a UserError for arguments that Lightning's Trainer does not take."""
    elsewhere = {"accelerator": "cpu", "devices": 1, "num_nodes": 1, "strategy": "auto", "precision": "32-true"}
    node = {**vars(trainer), **elsewhere, "enable_progress_bar": False, "profiler": None}
    instantiate(node, "trainer", logger=False, enable_checkpointing=False, enable_model_summary=False)


def check_limits(trainer: TrainerConfig, data: DataModule[Any]) -> None:
    """Raises a UserError for a limit that leaves no batch: nothing would be trained or measured."""
    for split in ("train", "val", "test"):
        key = f"limit_{split}_batches"
        limit = getattr(trainer, key)
        if not isinstance(limit, float) or limit == 1:
            continue
        batches = len(getattr(data, f"{split}_dataloader")())
        if int(batches * limit) < 1:
            raise UserError(f"trainer.{key}={limit} of {batches} batches is none; trainer.{key}=1 is one batch")


def _strategy(module: Any, strategy: str) -> Any:
    """The strategy; DDP searches for parameters without a gradient only where there may be some."""
    if not distributed.is_distributed():  # one process ignores the configured strategy
        return "auto"
    if module is None:
        return strategy
    if strategy == "fsdp":
        from distill.training.acceleration import sharding

        return sharding.ShardedStrategy()
    criterion_learns = any(p.requires_grad for p in module.criterion.parameters())
    unused = criterion_learns or hasattr(module.student, "adopt") or not module.criterion.teaches_student
    return "ddp_find_unused_parameters_true" if unused else "ddp"


def _monitoring(callback: Node, folder: Path, trainer: TrainerConfig, score: Metric) -> dict[str, Any]:
    """Arguments of a callback that watches validation or writes checkpoints: the best epoch was validated."""
    arguments: dict[str, Any] = {"dirpath": str(folder)}
    if callback.get("monitor") == f"val/{score.name}":
        arguments["mode"] = score.direction
    every = trainer.check_val_every_n_epoch
    by_epoch = not any(map(callback.get, ("every_n_train_steps", "train_time_interval")))
    if every > 1 and by_epoch and str(callback.get("monitor", "")).startswith("val/"):
        arguments["every_n_epochs"] = every
    return arguments


def check_watchers(cfg: TrainConfig, score: Metric) -> None:
    """Raises a UserError for a logger or a callback that cannot be made, before any training.

    A logger is not made here: some begin a record elsewhere as soon as they are.
    """
    for name, node in cfg.logger.items():
        if node:
            check(node, f"logger.{name}")
    for name, node in cfg.callbacks.items():
        if node:
            instantiate(node, f"callbacks.{name}", **_monitoring(node, Path("checkpoints"), cfg.trainer, score))


def trainer_factory(
    cfg: TrainConfig, score: Metric, callbacks_of: Callable[[str], list[L.Callback]] = lambda _: []
) -> Callable[..., L.Trainer]:
    """``make_trainer(folder, label, module, **changes)``: a Trainer whose checkpoints and logs go to ``folder``.

    ``changes`` are arguments of the Trainer that replace the configured ones, ``stop_early=False`` (no early stopping)
    and ``watchers`` (more callbacks).

    Args:
        cfg: the configuration.
        score: of the task: whether the best epoch is that of its largest or smallest value.
        callbacks_of: more callbacks for a label; called in all processes.

    Raises:
        UserError: a logger or callback that cannot be made.
    """
    check_watchers(cfg, score)

    def make_trainer(
        folder: Path,
        label: str,
        module: L.LightningModule | None = None,
        stop_early: bool = True,
        watchers: Sequence[L.Callback] = (),
        **changes: Any,
    ) -> L.Trainer:
        node = {**vars(cfg.trainer), **changes}
        if node["enable_progress_bar"] is None:
            node["enable_progress_bar"] = bar_is_shown()
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints = folder / "checkpoints"
        loggers = [
            instantiate(logger, f"logger.{name}", save_dir=str(folder), tracking_uri=None)
            for name, logger in cfg.logger.items()
            if logger
        ]
        callbacks = [
            instantiate(callback, f"callbacks.{name}", **_monitoring(callback, checkpoints, cfg.trainer, score))
            for name, callback in cfg.callbacks.items()
            if callback
            and (loggers or "LearningRateMonitor" not in callback["_target_"])
            and (stop_early or "EarlyStopping" not in callback["_target_"])
        ]
        for callback in callbacks if cfg.load_best_model_at_end else ():
            if isinstance(callback, ModelCheckpoint) and callback.monitor:
                prefer_later(callback)
        callbacks += [FiniteLoss(), GracefulStop(checkpoints / "last.ckpt"), DataWait(label)]
        refresh = 20 if uses_cuda(node["accelerator"]) else 1
        callbacks += [TrainingBar(label, refresh)] if node["enable_progress_bar"] else []
        callbacks += [EpochLine(label), *callbacks_of(label), *watchers]
        strategy = _strategy(module, node.pop("strategy"))
        node["profiler"] = _profiler(node.get("profiler"), folder)
        trainer = instantiate(
            node, "trainer", strategy=strategy, callbacks=callbacks, logger=loggers or False,
            plugins=[AtomicCheckpointIO()], default_root_dir=str(folder), num_sanity_val_steps=0,
            enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        assert isinstance(trainer, L.Trainer)
        return trainer

    return make_trainer


def evaluator(trainer: TrainerConfig, precision: Any) -> L.Trainer:
    """A Trainer for validating and testing: one device, nothing written."""
    devices: Any = trainer.devices if isinstance(trainer.devices, list) else 1
    if distributed.is_distributed():  # each process evaluates its part on its device
        local = int(os.environ["LOCAL_RANK"])
        ids = devices if isinstance(devices, list) else range(processes.count(trainer.devices))
        devices = [ids[local]] if uses_cuda(trainer.accelerator) else 1
    return L.Trainer(
        **{key: getattr(trainer, key) for key in EVALUATION},
        devices=devices,
        precision=precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
