"""Lightning's Trainers for training and evaluation, and the checks of their device."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.profilers import PassThroughProfiler

from distill.config.instantiate import instantiate
from distill.config.schema import TrainConfig, TrainerConfig
from distill.training.callbacks import DataWait, EpochLine, FiniteLoss, GracefulStop, LabelledBar
from distill.utils import distributed, processes
from distill.utils.checkpoints import AtomicCheckpointIO
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


class Unprofiled(PassThroughProfiler):
    """A ``PassThroughProfiler`` without the generator it makes for each of Lightning's hundred calls per step."""

    _context = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self._context


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


def trainer_factory(
    cfg: TrainConfig, callbacks_of: Callable[[str], list[L.Callback]] = lambda _: []
) -> Callable[..., L.Trainer]:
    """``make_trainer(folder, label, module, **changes)``: a Trainer whose checkpoints and logs go to ``folder``.

    ``changes`` are arguments of the Trainer that replace the configured ones, ``stop_early=False`` (no early stopping)
    and ``watchers`` (more callbacks).

    Args:
        cfg: the configuration.
        callbacks_of: more callbacks for a label; called in all processes.
    """

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
            node["enable_progress_bar"] = sys.stderr.isatty()
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints = folder / "checkpoints"
        loggers = [
            instantiate(logger, f"logger.{name}", save_dir=str(folder), tracking_uri=None)
            for name, logger in cfg.logger.items()
        ]
        callbacks = [
            instantiate(callback, f"callbacks.{name}", dirpath=str(checkpoints))
            for name, callback in cfg.callbacks.items()
            if callback
            and (loggers or "LearningRateMonitor" not in callback["_target_"])
            and (stop_early or "EarlyStopping" not in callback["_target_"])
        ]
        callbacks += [FiniteLoss(), GracefulStop(checkpoints / "last.ckpt"), DataWait(label)]
        refresh = 20 if uses_cuda(node["accelerator"]) else 1
        callbacks += [LabelledBar(label, refresh)] if node["enable_progress_bar"] else [EpochLine(label)]
        callbacks += [*callbacks_of(label), *watchers]
        strategy = _strategy(module, node.pop("strategy"))
        if node.get("profiler") is None:
            node.pop("profiler", None)
        trainer = instantiate(
            node, "trainer", strategy=strategy, profiler=Unprofiled(), callbacks=callbacks, logger=loggers or False,
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
        ids = devices if isinstance(devices, list) else range(processes.count(vars(trainer)))
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
