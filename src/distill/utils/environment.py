"""Where a run took place: versions, hardware, commit."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from distill.utils.invocation import this_command
from distill.utils.measurements import Hardware
from distill.utils.processes import usable_cores

PACKAGES = (
    "distill",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "timm",
    "transformers",
    "hydra-core",
    "omegaconf",
)


def versions(*others: str) -> dict[str, str]:
    """Versions of Python, of the packages that shape a result, and of the ``others`` that are installed."""
    installed = {"python": platform.python_version()}
    for package in (*PACKAGES, *others):
        try:
            installed[package] = torch.__version__ if package == "torch" else version(package)
        except PackageNotFoundError:
            continue
    return installed


def hardware(device: torch.device) -> Hardware:
    """Device and machine of this process."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return Hardware(
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        cpu=name,
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        platform=platform.system(),
        host=platform.node(),
        pid=os.getpid(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


def command(*added: str) -> str:
    """The command line of this process, for the record, as it can be given again.

    Of a training it is the command that makes the run anew: without ``resume=``, and without the folder that it took.

    Args:
        added: what it needs the second time.
    """
    words = [word for word in sys.argv[1:] if not word.startswith(("resume=", "hydra.run.dir="))]
    return this_command(*words, *(word for word in added if word not in words))


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout around ``folder``, with ``-dirty`` where files differ; None outside one."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(describe, cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
