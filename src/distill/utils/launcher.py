"""Starts one job in several processes, one per device, with what torchrun itself starts processes with.

``elastic_launch`` is not used whole: it kills workers half a minute after Ctrl-C, when a checkpoint may not be written
yet, logs to the terminal, and tells neither a worker's exit status nor the signal that killed it.
"""

import logging
import os
import re
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs, PContext, SignalException, start_processes
from torch.distributed.elastic.utils.distributed import get_free_port

from distill.utils.invocation import restart
from distill.utils.processes import OURS

PATIENCE_S = 24 * 3600  # after Ctrl-C, for the step and the checkpoint; another Ctrl-C is passed on as well
GRACE_S = 30  # as torch waits for the others once one has failed
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # torch handles them and does not give back


class _Logs(LogsSpecs):
    """``rank-<i>.log`` holds the stderr of process i; the first has the terminal, with ``log_rank_zero`` also a log."""

    root_log_dir = ""

    def __init__(self, folder: Path, log_rank_zero: bool) -> None:
        super().__init__()
        self.folder, self.log_rank_zero = folder, log_rank_zero

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """The files by rank; an empty name is this process's own stream."""
        logs = {rank: str(self.folder / f"rank-{rank}.log") for rank in envs}
        return LogsDest(
            stdouts={rank: os.devnull if rank else "" for rank in envs},
            stderrs={rank: log if rank or self.log_rank_zero else "" for rank, log in logs.items()},
            tee_stderrs={0: logs[0]} if self.log_rank_zero else {},
            error_files=dict.fromkeys(envs, os.devnull),
        )


def launch(processes: int, arguments: Sequence[str], folder: Path, log_rank_zero: bool = False) -> int:
    """Runs the training command once per device and waits for all; ends the others when one fails.

    Ctrl-C and SIGTERM are passed on to every process. What the processes say on stderr is kept in
    ``<folder>/rank-<i>.log`` if one of them fails.

    Args:
        processes: how many.
        arguments: of the training command.
        folder: the run's.
        log_rank_zero: whether the first process's stderr is kept as well, for :func:`failure_reason`; it is then no
            terminal.

    Returns:
        0; or the exit status of the first process to fail; or minus the signal that killed one.
    """
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").disabled = True
    port = get_free_port()  # type: ignore[no-untyped-call]
    job = {OURS: 1, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "NODE_RANK": 0, "GROUP_RANK": 0,
           "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "distill"}  # fmt: skip
    envs = {i: {key: str(v) for key, v in (job | {"RANK": i, "LOCAL_RANK": i}).items()} for i in range(processes)}
    program, *words = restart()
    quiet = ["hydra/job_logging=none"]
    args = {i: (*words, *arguments, *(quiet if i else [])) for i in range(processes)}
    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        logs = _Logs(folder, log_rank_zero)
        status = _wait(start_processes("", program, args, envs, logs, log_line_prefixes={0: ""}))
    except SignalException:  # before all had started: torch has ended those that had
        status = 130
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in zip(SIGNALS, before, strict=True):
                signal.signal(number, handler)
    if status == 0:
        for log in folder.glob("rank-*.log"):
            log.unlink()
    return status


def _wait(context: PContext) -> int:
    """Until all have ended, or one has failed and torch has ended the others."""
    stop: signal.Signals | None = None
    while True:
        try:
            if stop is not None:
                context.close(stop, PATIENCE_S)
            ended = context.wait(period=0.05)
            break
        except SignalException as received:
            stop = signal.SIGINT if received.sigval == signal.SIGINT else signal.SIGTERM
    failures = list(ended.failures.values()) if ended else []
    codes = [f.exitcode for f in failures if f.timestamp < failures[0].timestamp + GRACE_S]  # torch kills the rest
    return next((code for code in codes if code < 0 and code != -signal.SIGTERM), codes[0] if codes else 0)


def failure_reason(status: int, folder: Path) -> str:
    """Why the processes failed: the signal, the error of rank 0, or the last line of another rank."""
    if status < 0:
        return f"one of its processes was killed ({signal.Signals(-status).name})"
    logs = {log: log.read_text(errors="replace").splitlines() for log in sorted(folder.glob("rank-*.log"))}
    for line in reversed(logs.pop(folder / "rank-0.log", [])):
        if match := re.match(r"error: (.*)", line):
            return match.group(1)
    for log, lines in logs.items():
        if written := [line for line in lines if line.strip()]:
            return f"{log.stem}: {written[-1]} (see {log})"
    return f"its processes ended with status {status}"
