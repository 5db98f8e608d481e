"""Texts in turns: torchdistill padding to one length and to the longest of a batch, ours live, cached and alone."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import sides, text_task
from benchmarks.groups import SHORT, Lab
from benchmarks.turns import Side


def texts(lab: Lab, file: Path | None = None) -> dict[str, Any]:
    """Every side's turns, and the lengths of the texts in tokens.

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
