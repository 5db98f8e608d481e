"""What is measured: each group starts its sides, lets them train in turns or to the end, and returns the numbers.

Of sides in turns these are [seconds, processor seconds] of every turn.
"""

import json
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import sides, task
from benchmarks.load import Foreign
from benchmarks.memory import tree
from benchmarks.results import undisturbed
from benchmarks.settings import Settings
from benchmarks.turns import Side, last_line, start, stop
from distill.utils.errors import UserError
from distill.utils.processes import usable_cores

SHORT = ("trainer.max_epochs=1", "+trainer.limit_val_batches=2", "+trainer.limit_test_batches=2")
Splits = Callable[[int, int, int], dict[str, Any]]


class Lab:
    """A folder, the images, the settings.

    Args:
        folder: that holds everything the sides write.
        images: pixels and labels of so many training, validation and test images, by split.
        settings: how much.
    """

    def __init__(self, folder: Path, images: Splits, settings: Settings) -> None:
        self.folder = folder
        self.images = images
        self.settings = settings
        self.kept: dict[str, Any] = {}

    def _prepared(self, name: str, train: int, val: int, test: int) -> Path:
        folder = self.folder / name
        if not (folder / task.IMAGES).exists():
            task.prepare(folder, self.images(train, val, test))
        return folder

    @property
    def _task(self) -> Path:
        """The task of all sides that train in turns: its epoch is as long as all their turns."""
        return self._prepared("task", self.settings.images * task.BATCH, 2 * task.BATCH, 2 * task.BATCH)

    @property
    def _compiled(self) -> str:
        return f"compile={str(self.settings.compiled).lower()}"

    # Sides that train in turns

    def _peer(self, stack: ExitStack, name: str, environment: Mapping[str, str] | None = None) -> Side:
        folder, warm = self._task, self.settings.warm_up
        command = lambda fd: sides.peer(folder, 1000, (fd, warm))  # noqa: E731
        return stack.enter_context(Side(command, self.folder / f"{name}.log", environment))

    def _ours(self, stack: ExitStack, name: str, *overrides: str, environment: Mapping[str, str] | None = None) -> Side:
        folder, warm = self._task, self.settings.warm_up

        def command(fd: int) -> list[str]:
            turns = sides.in_turns(fd, warm)
            return sides.ours(folder, self.folder / name, *SHORT, self._compiled, *turns, *overrides)

        return stack.enter_context(Side(command, self.folder / f"{name}.log", environment))

    def _bare(
        self, stack: ExitStack, name: str, students: int = 1, teacher: str | None = None, beside: bool = False
    ) -> Side:
        folder, warm, compiled = self._task, self.settings.warm_up, self.settings.compiled
        command = lambda fd: sides.bare(folder, (fd, warm), compiled, students, teacher, beside)  # noqa: E731
        return stack.enter_context(Side(command, self.folder / f"{name}.log"))

    def begin(self, sides: Mapping[str, Callable[[], Side]]) -> dict[str, Side]:
        """Starts the sides: together where there are cores enough for their compilers, else one by one."""
        with ThreadPoolExecutor(len(sides) if usable_cores() >= 4 * len(sides) else 1) as pool:
            return dict(zip(sides, pool.map(lambda side: side(), sides.values()), strict=True))

    def turns(
        self, players: Mapping[str, Side], students: Mapping[str, int] | None = None, batch: int = task.BATCH
    ) -> dict[str, Any]:
        """Every side's turns, again where disturbed; one of several students takes as many times fewer steps."""
        s, many = self.settings, students or {}
        turn = {name: s.peer_turn if name.startswith("peer") else s.turn for name in players}
        steps = {name: max(1, k // many.get(name, 1)) for name, k in turn.items()}
        found: dict[str, Any] = {
            "turns": {name: [] for name in players},
            "images": {n: k * batch * many.get(n, 1) for n, k in steps.items()},
            "foreign": [],
        }
        others = Foreign()
        for tried in range(s.rounds + s.repeats):
            if tried >= s.rounds and len(undisturbed(found)) >= s.rounds:
                break
            others.begin()
            for name, side in players.items():
                found["turns"][name].append(side.turn(steps[name]))
            found["foreign"].append(others.share())
        peaks = {name: {"process": side.peak, "all": max(side.most, side.peak)} for name, side in players.items()}
        return found | {"peak": peaks, "ready": {name: side.ready_s for name, side in players.items()}}

    def live(self) -> dict[str, Any]:
        """A live teacher: the peer, and ours as the first run of a user, which fills the teacher's cache."""
        shutil.rmtree(self._task / "cache", ignore_errors=True)
        with ExitStack() as stack:
            made = {"peer": lambda: self._peer(stack, "peer"), "ours": lambda: self._ours(stack, "live")}
            players = self.begin(made)
            found = self.turns(players)
            players["ours"].finish()
        return found

    def cached(self) -> dict[str, Any]:
        """A cached teacher, the student alone, and a bare loop of the student alone."""
        if not (self._task / "cache").is_dir():
            self.to_end(sides.ours(self._task, self.folder / "fill", *SHORT, "compile=false"), "fill")
        with ExitStack() as stack:
            made = {
                "peer": lambda: self._peer(stack, "peer-2"),
                "cached": lambda: self._ours(stack, "cached"),
                "alone": lambda: self._ours(stack, "alone", "kd=none"),
                "bare": lambda: self._bare(stack, "bare"),
            }
            return self.turns(self.begin(made))

    def together(self) -> dict[str, Any]:
        """Bare loops: one student under a cache that costs nothing; several in one process, under one teacher pass."""
        n, _ = self.settings.students, self._task  # prepared once, before any of them looks for it
        with ExitStack() as stack:
            made = {
                "one": lambda: self._bare(stack, "one", 1, "kept"),
                "live": lambda: self._bare(stack, "several-live", n, "live"),
                "kept": lambda: self._bare(stack, "several-kept", n, "kept"),
            }
            if torch.cuda.is_available():
                made["beside"] = lambda: self._bare(stack, "several-beside", n, "kept", beside=True)
            return self.turns(self.begin(made), dict.fromkeys([*made][1:], n)) | {"students": n}

    def float32(self) -> dict[str, Any]:
        """Both as on a CPU without bf16 units."""
        with ExitStack() as stack:
            own = ("trainer.precision=32-true", f"cache.dir={self._task / 'cache32'}")
            players = {
                "peer": lambda: self._peer(stack, "peer-32", sides.NO_BF16),
                "ours": lambda: self._ours(stack, "live-32", *own, environment=sides.NO_BF16),
            }
            return self.turns(self.begin(players))

    # Processes of their own

    def _reported(self, module: str) -> dict[str, Any]:
        """What one of this package's modules measured."""
        report = self.folder / f"{module}.json"
        given = {"rounds": self.settings.rounds, "report": str(report)}
        self.to_end(["-m", f"benchmarks.{module}", json.dumps(given)], module)
        found: dict[str, Any] = json.loads(report.read_text())
        return found

    def teacher(self) -> dict[str, Any]:
        """The teacher's forward pass in each of its forms."""
        return self._reported("teacher")

    def peak(self) -> dict[str, Any]:
        """The highest rate of multiply-accumulates."""
        return self._reported("peak")

    # Whole commands

    def to_end(
        self, arguments: Sequence[str], name: str, environment: Mapping[str, str] | None = None
    ) -> tuple[float, int]:
        """Seconds of a whole command, and the most memory that was seen of it and its helpers."""
        log = self.folder / f"{name}.log"
        begun, most = time.perf_counter(), 0
        with log.open("w") as file:
            process = start(arguments, file, environment)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                most = max(most, tree(process.pid))
        finally:
            stop(process)
        if process.returncode:
            raise UserError(f"{name} failed: {last_line(log)} (see {log})")
        return time.perf_counter() - begun, most

    def sweep(self) -> dict[str, Any]:
        """Every T with every alpha: ours as one multirun, the peer as single runs."""
        s = self.settings
        folder = self._prepared("sweep-task", s.sweep_images, s.sweep_images // 10, s.sweep_images // 5)
        peers, firsts = [], []
        for i in range(s.sweep_peer):
            report, begun = self.folder / f"sweep-peer-{i}.json", time.time()
            peers.append(self.to_end(sides.peer(folder, s.sweep_epochs, report=report), f"sweep-peer-{i}"))
            firsts.append(json.loads(report.read_text())["steps"][0] - begun)
        points = [
            f"kd.{key}={','.join(map(str, values))}" for key, values in zip(("T", "alpha"), s.sweep_points, strict=True)
        ]
        stamps, runs = self.folder / "stamps.txt", self.folder / "sweep"
        clock = ["+callbacks.stamps._target_=benchmarks.clock.Stamps", f"+callbacks.stamps.file={stamps}"]
        begun = time.time()
        epochs = f"trainer.max_epochs={s.sweep_epochs}"
        whole = self.to_end(sides.ours(folder, None, f"hydra.sweep.dir={runs}", epochs, *points, *clock), "sweep")
        steps = [float(line) for line in stamps.read_text().split()]
        ends = [(runs / str(i) / "summary.json").stat().st_mtime for i in range(len(steps))]
        later = [step - end for step, end in zip(steps[1:], ends[:-1], strict=True)]
        count = len(s.sweep_points[0]) * len(s.sweep_points[1])
        jobs = [end - begin for begin, end in zip([begun, *ends[:-1]], ends, strict=True)]
        return {
            "points": count, "images": s.sweep_images, "epochs": s.sweep_epochs,
            "peer": [seconds for seconds, _ in peers], "ours": [whole[0]], "jobs": jobs,
            "peak": {"peer": max(most for _, most in peers), "ours": whole[1]},
            "first_step": {"peer": firsts, "ours": steps[0] - begun, "later": later},
        }  # fmt: skip

    def start(self) -> dict[str, Any]:
        """From the command to the end of the first step, in turn."""
        folder = self._task
        found: dict[str, list[float]] = {"peer": [], "ours": [], "alone": []}
        for i in range(self.settings.starts):
            commands: dict[str, Callable[[int], list[str]]] = {
                "peer": lambda fd: sides.peer(folder, 1, (fd, 1)),
                "ours": partial(self._start, f"start-{i}", ()),
                "alone": partial(self._start, f"start-alone-{i}", ("kd=none",)),
            }
            for name, command in commands.items():
                with Side(command, self.folder / f"start-{name}.log") as side:
                    found[name].append(side.ready_s)
        return {"seconds": found}

    def _start(self, name: str, overrides: Sequence[str], fd: int) -> list[str]:
        own = ("trainer.max_epochs=1", "cache.enabled=false", *sides.in_turns(fd, 1), *overrides)
        return sides.ours(self._task, self.folder / name, *own)

    def sizes(self) -> dict[str, Any]:
        """Distillation step, memory and time to the first step, one size varied at a time."""
        return {"axes": {axis: [self._size(axis, value) for value in values] for axis, values in self.settings.sizes}}

    def _size(self, axis: str, value: int | str) -> dict[str, Any]:
        s = self.settings
        given: dict[str, Any] = {"batch": task.BATCH, "image": 32, "student": task.STUDENT, "data": 2_000}
        given |= {"batch": 16} if axis == "image" else {}
        given[axis] = value
        n = max(given["data"], given["batch"] * (s.size_steps + 4))
        source = ["data.source._target_=benchmarks.task.sized", f"+data.source.n={n}"]
        source.append(f"+data.source.size={given['image']}")
        name = f"{axis}-{value}"
        more = [f"data.batch_size={given['batch']}", f"model={given['student']}"]

        def command(fd: int) -> list[str]:
            own = ("trainer.max_epochs=1", "compile=false", "cache.enabled=false", "logger=none", *more)
            return sides.ours(self._task, self.folder / name, *own, *sides.in_turns(fd, 1), source=source)

        with Side(command, self.folder / f"{name}.log") as side:
            side.turn(1)  # one more to warm up
            took = [side.turn(1)[0] for _ in range(s.size_steps)]
            return {
                "value": value, "first_step_s": side.ready_s, "step_s": statistics.median(took),
                "images": given["batch"], "peak": side.peak, "all": side.most,
            }  # fmt: skip

    # Why

    def profile(self, side: str) -> dict[str, Any]:
        """Where the steps of one of our sides go: "live", "cached", "alone" or "live-32"."""
        s, file = self.settings, self.folder / f"profile-{side}.json"
        steps = max(1, (s.images - s.warm_up - 1) // 2)
        clock = {
            "_target_": "benchmarks.profiler.Profile",
            "file": file,
            "warm_up": s.warm_up,
            "steps": min(steps, 20),
        }
        own = {
            "live": ("cache.enabled=false",),
            "cached": (),
            "alone": ("kd=none",),
            "live-32": ("cache.enabled=false", "trainer.precision=32-true"),
        }[side]
        overrides = [f"+callbacks.profile.{key}={value}" for key, value in clock.items()]
        environment = sides.NO_BF16 if side == "live-32" else None
        arguments = sides.ours(self._task, self.folder / f"profile-{side}", *SHORT, self._compiled, *overrides, *own)
        self.to_end(arguments, f"profile-{side}", environment)
        found: dict[str, Any] = json.loads(file.read_text())
        return found
