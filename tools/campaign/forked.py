"""Commands of the product, each in a fork of a process that has imported what they import already."""

import faulthandler
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

Arguments = Sequence[str]
TIMEOUT_S = 1800.0  # a command takes 3 s of CPU at most; on a machine that others keep busy that is minutes
KILLED = -signal.SIGKILL
# No onnxruntime: its import starts a thread, which a fork would not have.
IMPORTED = (
    "distill.cli.job", "distill.cli.main", "distill.evaluation.evaluate", "distill.training.pipeline",
    "distill.export.pipeline", "onnx", "onnxscript", "sklearn.datasets", "plotly.graph_objects", "plotly.offline",
    "jinja2", "networkx", "sympy",
)  # fmt: skip


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        status: its exit status; negative: by that signal.
        output: what it printed.
        seconds: of CPU.
        late: it did not end within the time limit.
    """

    status: int
    output: str
    seconds: float
    late: bool

    @property
    def error(self) -> str | None:
        """The line that begins with ``error:``, if there is one."""
        return next((line for line in self.output.splitlines() if line.startswith("error:")), None)

    @property
    def complaint(self) -> str | None:
        """Why this is no way to end: a traceback, a failure without an error line, a hang and where, a signal."""
        if "Traceback (most recent call last)" in self.output:
            return f"traceback: {self.output.strip().splitlines()[-1]}"
        if self.late:
            at = re.search(r'most recent call first\):\n\s*(File "[^\n]*)', self.output)
            return f"no end within the time limit ({self.seconds:.1f} s of CPU), in {at[1] if at else 'no Python code'}"
        if self.status < 0:
            return f"ended by {signal.Signals(-self.status).name}, which the campaign did not send"
        return f"status {self.status} without an error line" if self.status and self.error is None else None


def preload() -> None:
    """Imports what the commands import, so that a fork need not; without threads, which a fork would not have."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in IMPORTED:
        import_module(name)
    import torch

    torch.set_num_threads(1)


class Started(NamedTuple):
    """A process, and the pipe that it prints to."""

    pid: int
    reader: int

    def seconds(self) -> float:
        """Of CPU until now, of all its threads: how far it is, however busy the machine."""
        with suppress(OSError):
            return time.clock_gettime((~self.pid << 3) | 2)  # clock_getcpuclockid(3), which Python does not have
        return 0.0


def start(arguments: Arguments, at: Path, before: Callable[[], None] | None = None) -> Started:
    """Begins ``distill <arguments>`` as the leader of its own process group.

    Args:
        arguments: of the command.
        at: the folder in which it runs.
        before: is called in the new process, before the command.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    if pid := os.fork():
        os.close(writer)
        with suppress(OSError):  # it may have ended
            os.setpgid(pid, pid)
        os.set_blocking(reader, False)
        return Started(pid, reader)
    status = 1
    try:
        os.setpgid(0, 0)
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", errors="backslashreplace")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.dump_traceback_later(0.9 * TIMEOUT_S, file=sys.stderr)  # where it hangs, if it does
        os.chdir(at)
        sys.argv = ["distill", *arguments]
        if before is not None:
            before()
        from distill.cli.main import main

        main()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


def wait(process: Started, kill_at: float = float("inf"), timeout: float = TIMEOUT_S) -> Done:
    """Waits for a command; its whole group is killed (-9) after so many seconds of CPU, or after ``timeout``."""
    end, printed, late = time.monotonic() + timeout, b"", False
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        with suppress(BlockingIOError):
            while part := os.read(process.reader, 1 << 16):
                printed += part
        if not ended:
            late = time.monotonic() > end
            if not late and process.seconds() < kill_at:
                time.sleep(0.002)
                continue
            os.killpg(process.pid, signal.SIGKILL)
            _, status, usage = os.wait4(process.pid, 0)
        os.close(process.reader)
        used = usage.ru_utime + usage.ru_stime
        return Done(os.waitstatus_to_exitcode(status), printed.decode(errors="replace"), used, late)


def call(
    arguments: Arguments,
    at: Path,
    before: Callable[[], None] | None = None,
    kill_at: float = float("inf"),
    timeout: float = TIMEOUT_S,
) -> Done:
    """Runs ``distill <arguments>`` in a folder to its end, or kills it (-9): see :func:`wait`."""
    return wait(start(arguments, at, before), kill_at, timeout)
