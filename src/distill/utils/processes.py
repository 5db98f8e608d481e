"""What a process's environment says of the job of several processes that it belongs to. Torch is not needed here."""

import ctypes
import os
import signal
import sys
from typing import Any

from distill.utils.errors import UserError

OURS = "DISTILL_RANKS"  # in the environment of the processes that distill.utils.launcher starts


def count(trainer: dict[str, Any]) -> int:
    """How many processes ``trainer.devices`` asks for on this machine: a number, or a list of device numbers."""
    devices = trainer["devices"]
    if isinstance(devices, str) and devices.isdigit():
        devices = int(devices)
    if isinstance(devices, list) and devices and all(type(i) is int and i >= 0 for i in devices):
        return len(devices)
    if devices == "auto":
        return 1
    if type(devices) is not int or devices < 1:
        raise UserError(f"trainer.devices must be a number from 1, or a list of device numbers, got {devices!r}")
    return devices


def inside() -> bool:
    """Whether this process is one of several: started by ``distill.utils.launcher``, or by torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_rank_zero() -> bool:
    """Whether this process is the one of them that writes and prints; a process alone is."""
    return int(os.environ.get("RANK", "0")) == 0


def set_up_launched() -> None:
    """Prepares a process that ``distill.utils.launcher`` started: Linux ends it when the one that started it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]  # Lightning would take the one task of a Slurm job for all its processes
