"""The learning curves of a run, from the files of its CSV logger."""

import csv
import math
from collections.abc import Collection
from pathlib import Path

Curve = list[tuple[float, float]]
FIRST = ("loss", "hard")
LAST = ("acc", "top5", "agreement")


def _number(text: str) -> float:
    """NaN where a line is incomplete or damaged."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def curves(folder: Path, only: Collection[str] | None = None) -> dict[str, dict[str, Curve]]:
    """Every logged quantity over the epochs, counted from 1.

    Args:
        folder: the run's; where a resumed run logged an epoch twice, the later file counts.
        only: columns ("val/acc") that are read; None: all.

    Returns:
        By quantity ("loss", "hard", a term's name, ..., "acc") by split ("train", "val") the (epoch, value) pairs;
        the total first, then each term, then accuracies. Empty where the run had no CSV logger.
    """
    logged: dict[str, dict[str, dict[float, float]]] = {}
    paths = filter(Path.is_file, folder.glob("csv/version_*/metrics.csv"))
    for path in sorted(paths, key=lambda path: (len(path.parent.name), path)):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = csv.reader(file, quoting=csv.QUOTE_NONE)
            header = next(rows, [])
            epoch = header.index("epoch") if "epoch" in header else len(header)
            columns = [
                (i, key.partition("/")) for i, key in enumerate(header)
                if key.startswith(("train/", "val/")) and (only is None or key in only)
            ]  # fmt: skip
            for row in rows:
                at = _number(row[epoch]) + 1 if epoch < len(row) else math.nan
                for i, (split, _, name) in columns:
                    if i < len(row) and math.isfinite(at) and math.isfinite(value := _number(row[i])):
                        logged.setdefault(name, {}).setdefault(split, {})[at] = value

    def rank(name: str) -> tuple[int, int]:
        return (0, FIRST.index(name)) if name in FIRST else (2, LAST.index(name)) if name in LAST else (1, 0)

    return {
        name: {split: sorted(points.items()) for split, points in sorted(logged[name].items())}
        for name in sorted(logged, key=rank)
    }
