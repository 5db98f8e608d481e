"""Texts: torchdistill and ours in turns, and what many texts cost."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import sides, text_task
from benchmarks.groups import SHORT, Lab
from benchmarks.turns import Side


def texts(lab: Lab, file: Path | None = None) -> dict[str, Any]:
    """Torchdistill padding to one length and to the longest of a batch; ours live, cached and alone: every turn.

    Args:
        lab: runs the sides.
        file: jsonl with texts and labels; None: made-up texts.
    """
    folder, beside = lab.folder / "texts", 4 * text_task.BATCH
    train = lab.settings.images * text_task.BATCH
    rows = text_task.made_up(train + beside) if file is None else text_task.read(file, train + beside)
    lengths = text_task.prepare(folder, rows, train)

    def ours(name: str, *overrides: str) -> Side:
        def command(fd: int) -> list[str]:
            turns = sides.in_turns(fd, lab.settings.warm_up)
            return sides.text_ours(folder, lab.folder / name, *SHORT, *turns, *overrides)

        return stack.enter_context(Side(command, lab.folder / f"{name}.log"))

    def peer(name: str, padded: bool) -> Side:
        command = lambda fd: sides.text_peer(folder, padded, (fd, lab.settings.warm_up))  # noqa: E731
        return stack.enter_context(Side(command, lab.folder / f"{name}.log"))

    lab.to_end(
        sides.text_ours(folder, lab.folder / "texts-fill", *SHORT, f"cache.dir={folder / 'cache'}"), "texts-fill"
    )
    with ExitStack() as stack:
        made = {
            "peer": lambda: peer("texts-peer", True),
            "peer-batch": lambda: peer("texts-peer-batch", False),
            "live": lambda: ours("texts-live", f"cache.dir={folder / 'live-cache'}"),
            "cached": lambda: ours("texts-cached", f"cache.dir={folder / 'cache'}"),
            "alone": lambda: ours("texts-alone", "kd=none"),
        }
        return lab.turns(lab.begin(made), batch=text_task.BATCH) | {"lengths": lengths}


def many(lab: Lab) -> dict[str, Any]:
    """Memory of the process and seconds to the first step, by the number of training texts."""
    return {"points": [_many(lab, n) for n in lab.settings.texts]}


def _many(lab: Lab, n: int) -> dict[str, Any]:
    folder, beside = lab.folder / f"texts-{n}", 4 * text_task.BATCH
    text_task.prepare(folder, text_task.made_up(n + beside), n)

    def command(fd: int) -> list[str]:
        own = (*SHORT, "cache.enabled=false", "logger=none", *sides.in_turns(fd, 1))
        return sides.text_ours(folder, lab.folder / f"texts-{n}-run", *own)

    with Side(command, lab.folder / f"texts-{n}.log") as side:
        size = (folder / "texts" / "train.jsonl").stat().st_size
        return {"texts": n, "file": size, "first_step_s": side.ready_s, "peak": side.peak}
