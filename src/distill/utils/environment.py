"""Where a run took place: versions, hardware, commit."""

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from distill.utils.cpu import usable_cores
from distill.utils.invocation import this_command

PACKAGES = ("distill", "torch", "torchvision", "lightning", "torchmetrics", "timm", "hydra-core", "omegaconf")
_ABSOLUTE = re.compile(r"(?<![\w.:~/-])(?:file://|~)?(?P<path>/[^\s,'\"\[\]{}]+)")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that shape a result."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = torch.__version__ if package == "torch" else version(package)
        except PackageNotFoundError:
            continue
    return installed


def hardware(device: torch.device) -> dict[str, Any]:
    """Device and machine of this process; ``visible_devices``: CUDA_VISIBLE_DEVICES."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = lines[0].split(":", 1)[1].strip() if lines else name
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": name,
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "platform": platform.system(),
        "host": platform.node(),
        "pid": os.getpid(),
        "visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def command() -> str:
    """The command line of this process, for the record; the script by its name.

    Of a run that was continued it is the command that makes it anew, without ``resume=`` and the folder it stands for.
    """
    words = sys.argv[1:]
    if any(word.startswith("resume=") for word in words):
        words = [word for word in words if not word.startswith(("resume=", "hydra.run.dir="))]
    return this_command(*words)


def portable(text: str) -> str:
    """A command or path without absolute paths: below the current folder they become relative, else their last name.

    Example:
        >>> portable("python export.py run=/home/me/outputs/kd output=files")
        'python export.py run=kd output=files'
    """
    return _ABSOLUTE.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    path = Path(match["path"])
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def git_commit(folder: Path) -> str | None:
    """The commit of the checkout around ``folder``, with ``-dirty`` where files differ; None outside one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
