"""Several processes that train in turns, so that whatever else this machine does meets all of them alike."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import IO

from benchmarks import memory
from distill.utils.errors import UserError

PATIENCE = 900.0  # seconds that a side may take for its warm-up or a turn


class Side:
    """A process that waits for its turns.

    Args:
        command: makes the arguments after ``python`` from the number of the file descriptor for ``Player``.
        log: what the process prints.
        environment: beside this process's.

    Raises:
        UserError: it ended before its warm-up was over.
    """

    def __init__(
        self, command: Callable[[int], Sequence[str]], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.log = log
        self.most = 0  # bytes that it and its helpers held
        self.begun = False
        started = time.perf_counter()
        self._pipe, theirs = Pipe()
        with log.open("w") as file:
            self.process = start(command(theirs.fileno()), file, environment, (theirs.fileno(),))
        theirs.close()
        try:
            self._wait()
        except BaseException:
            stop(self.process)
            raise
        self.ready_s = time.perf_counter() - started  # from its start to the end of its warm-up

    def _wait(self) -> tuple[float, float]:
        """What the process reports next; its memory is looked at meanwhile only before its first turn."""
        waited = 0.0
        while not self._pipe.poll(0.5):
            waited += 0.5
            self.most = max(self.most, memory.tree(self.process.pid)) if not self.begun else self.most
            if waited > PATIENCE:
                raise UserError(f"{self.log.stem} took more than {PATIENCE:.0f} s; see {self.log}")
        try:
            reported: tuple[float, float] = self._pipe.recv()
        except EOFError:
            raise UserError(f"{self.log.stem} has ended: {last_line(self.log)} (see {self.log})") from None
        self.most = max(self.most, memory.tree(self.process.pid))
        self.begun = True
        return reported

    def turn(self, steps: int) -> tuple[float, float]:
        """Lets it train so many steps; seconds, and processor seconds."""
        self._pipe.send(steps)
        return self._wait()

    @property
    def peak(self) -> int:
        """The most memory that its process held, without helpers, in bytes."""
        return memory.peak(self.process.pid)

    def finish(self) -> None:
        """Lets it go on to its end."""
        self._pipe.send(0)
        if self.process.wait(PATIENCE):
            raise UserError(f"{self.log.stem} failed: {last_line(self.log)} (see {self.log})")

    def __enter__(self) -> "Side":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(self.process)


def start(
    arguments: Sequence[str], log: IO[str], environment: Mapping[str, str] | None = None, fds: Sequence[int] = ()
) -> "subprocess.Popen[bytes]":
    """``python <arguments>`` as the head of a group of processes."""
    return subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds,
        env={**os.environ, **(environment or {})}, start_new_session=True,
    )  # fmt: skip


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Ends a process and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_line(log: Path) -> str:
    """The last words of a process."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
