"""One job in several processes, one per device: how they are started. Torch is not needed here."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from distill.utils.errors import UserError
from distill.utils.invocation import restart

OURS = "DISTILL_RANKS"  # in the environment of the processes that are started here
GRACE_S = 20.0  # for the others to end once one of them has


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
    """Whether this process is one of several: started here, or by torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_rank_zero() -> bool:
    """Whether this process is the one of them that writes and speaks; a process alone is."""
    return int(os.environ.get("RANK", "0")) == 0


def start(processes: int, arguments: Sequence[str], folder: Path, quote: Callable[[str], None] | None = None) -> int:
    """Runs ``train.py`` once per device and waits for all; ends the others when one goes wrong.

    Ctrl-C and SIGTERM are passed on to every one of them, and they end when this process dies. The first one has this
    terminal; what the others say on stderr is kept in ``<folder>/rank-<i>.log`` if one of them fails.

    Args:
        processes: how many.
        arguments: of ``train.py``.
        folder: the run's.
        quote: is given every line that the first one writes to stderr (it is then no terminal).

    Returns:
        0; or the exit status of the first process to fail; or minus the signal that killed one.
    """
    shared = {**os.environ, OURS: "1", "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0", "GROUP_RANK": "0",
              "TORCHELASTIC_RUN_ID": "distill"}  # fmt: skip
    for name in [name for name in shared if name.startswith("SLURM_")]:
        del shared[name]  # Lightning would take the one task of a Slurm job for all its processes
    ranks: list[subprocess.Popen[Any]] = []
    logs: list[IO[str]] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def pass_on(number: int, _frame: Any) -> None:
        for rank in ranks:
            if rank.poll() is None:
                rank.send_signal(number)

    if threading.current_thread() is threading.main_thread():
        for number in before:
            signal.signal(number, pass_on)
    try:
        for i in range(processes):
            env = {**shared, "RANK": str(i), "LOCAL_RANK": str(i)}
            command = [*restart(), *arguments]
            if i == 0:
                pipe = subprocess.PIPE if quote else None
                ranks.append(subprocess.Popen(command, env=env, process_group=0, stderr=pipe, text=True))
            else:
                logs.append((folder / f"rank-{i}.log").open("w"))
                quiet = [*command, "hydra/job_logging=none"]
                ranks.append(
                    subprocess.Popen(quiet, env=env, process_group=0, stdout=subprocess.DEVNULL, stderr=logs[-1])
                )
        if quote and ranks[0].stderr is not None:
            reader = threading.Thread(target=_copy, args=(ranks[0].stderr, quote), daemon=True)
            reader.start()
        status = _wait(ranks)
        if quote:
            reader.join(timeout=GRACE_S)
    finally:
        for rank in ranks:
            rank.kill()
        for number, handler in before.items():
            if threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)
        for log in logs:
            log.close()
    if status == 0:
        for log in logs:
            Path(log.name).unlink()
    return status


def end_with_parent() -> None:
    """Asks Linux to end this process, started by :func:`start`, when the one that started it dies."""
    if OURS in os.environ and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _copy(lines: IO[str], quote: Callable[[str], None]) -> None:
    for line in lines:
        sys.stderr.write(line)
        sys.stderr.flush()
        quote(line)


def _wait(ranks: list[subprocess.Popen[Any]]) -> int:
    """Until all have ended, or one has failed and the others had time to."""
    deadline = float("inf")
    first = 0
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < deadline:
        time.sleep(0.05)
        failed = next((rank.returncode for rank in ranks if rank.returncode), 0)
        if failed and not first:
            first, deadline = failed, time.monotonic() + GRACE_S
            # Others wait for it in vain; those that were interrupted with it are at their last words.
            for rank in ranks if failed != 130 else []:
                rank.terminate()
    codes = [rank.returncode or 0 for rank in ranks]
    return next((code for code in codes if code < 0 and code != -signal.SIGTERM), first or max(codes))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def reason(lines: Sequence[str], status: int, folder: Path) -> str:
    """Why the processes failed: one was killed; or what the first one said; or what the others did."""
    if status < 0:
        return f"one of its processes was killed ({signal.Signals(-status).name})"
    for line in reversed(lines):
        if found := re.match(r"error: (.*)", line):
            return found.group(1)
    for log in sorted(folder.glob("rank-*.log")):
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if said:
            return f"{log.stem}: {said[-1]} (see {log})"
    return f"its processes ended with status {status}"
