"""The command lines of the sides: the peer's, the bare loop's, and ours as a user types it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import task, text_task
from distill.utils.processes import usable_cores

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
NO_BF16 = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}  # oneDNN takes nothing newer: no AVX512-BF16, no AMX


def peer(folder: Path, epochs: int, turns: Sequence[int] | None = None, report: Path | None = None) -> list[str]:
    """A run of torchdistill; its loaders have a worker per core, as its recipes have several."""
    given = {"folder": str(folder), "epochs": epochs, "workers": usable_cores(), "turns": turns}
    return ["-m", "benchmarks.peer", json.dumps(given | {"report": report and str(report)})]


def bare(
    folder: Path,
    turns: Sequence[int],
    compiled: bool,
    students: int = 1,
    teacher: str | None = None,
    beside: bool = False,
) -> list[str]:
    """The bare loop; see its ``main``."""
    given = {"folder": str(folder), "turns": turns, "compiled": compiled}
    given |= {"students": students, "teacher": teacher, "beside": beside}
    return ["-m", "benchmarks.bare", json.dumps(given)]


def ours(folder: Path, run: Path | None, *overrides: str, source: Sequence[str] | None = None) -> list[str]:
    """``train.py`` on the benchmark's task.

    Args:
        folder: of the task.
        run: where the run goes; None: a multirun, whose overrides say it.
        overrides: of the configuration.
        source: those of ``data.source``; None: the task's images.
    """
    source = source or ["data.source._target_=benchmarks.task.images", f"+data.source.folder={folder}"]
    return [
        str(TRAIN), *([] if run else ["-m"]), *([f"hydra.run.dir={run}"] if run else []),
        "data=cifar10", "~data.source.root", "~data.source.download", *source, f"data.batch_size={task.BATCH}",
        f"model={task.STUDENT}", f"teacher={task.TEACHER}", f"teacher.checkpoint={folder / task.WEIGHTS}",
        f"optimizer.lr={task.LR}", f"kd.T={task.T}", f"kd.alpha={task.ALPHA}", f"cache.dir={folder / 'cache'}",
        *overrides,
    ]  # fmt: skip


def text_peer(folder: Path, padded: bool, turns: Sequence[int]) -> list[str]:
    """A run of torchdistill on texts, padded to one length or to the longest of a batch."""
    return ["-m", "benchmarks.text_peer", json.dumps({"folder": str(folder), "padded": padded, "turns": turns})]


def text_ours(folder: Path, run: Path, *overrides: str) -> list[str]:
    """``train.py`` on the texts."""
    return [
        str(TRAIN), f"hydra.run.dir={run}", "data=text", f"data.root={folder / 'texts'}",
        f"data.batch_size={text_task.BATCH}", f"data.max_length={text_task.LENGTH}",
        f"teacher.name={folder / 'teacher'}", f"teacher.checkpoint={folder / 'teacher.safetensors'}",
        f"model.layers={text_task.STUDENT_LAYERS}", f"optimizer.lr={text_task.LR}", "optimizer.weight_decay=0",
        f"trainer.gradient_clip_val={text_task.CLIP}", f"kd.T={text_task.T}", f"kd.alpha={text_task.ALPHA}",
        *overrides,
    ]  # fmt: skip


def in_turns(fd: int, warm_up: int) -> list[str]:
    """Overrides that let a run of ours train in turns."""
    clock: dict[str, Any] = {"_target_": "benchmarks.clock.Turns", "fd": fd, "warm_up": warm_up}
    return [f"+callbacks.turns.{key}={value}" for key, value in clock.items()]
