"""The learning curves of a run, from what its CSV logger wrote."""

import csv
import math
from pathlib import Path

Curve = list[tuple[float, float]]
FIRST = ("loss", "hard")
LAST = ("acc", "top5", "agreement")


def curves(folder: Path) -> dict[str, dict[str, Curve]]:
    """Every logged quantity over the epochs, counted from 1.

    Args:
        folder: the run's; a resumed run has several files, of which the later one counts.

    Returns:
        By quantity ("loss", "hard", a term's name, ..., "acc") by split ("train", "val") the (epoch, value) pairs;
        the total first, then each term, then accuracies. Empty where the run had no CSV logger.
    """
    found: dict[str, dict[str, dict[float, float]]] = {}
    paths = sorted(folder.glob("csv/version_*/metrics.csv"), key=lambda path: int(path.parent.name[8:] or 0))
    for path in paths:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                for key, text in row.items():
                    split, _, name = (key or "").partition("/")
                    if split not in ("train", "val") or not text or not row.get("epoch"):
                        continue
                    value = float(text)
                    if math.isfinite(value):
                        found.setdefault(name, {}).setdefault(split, {})[float(row["epoch"]) + 1] = value

    def rank(name: str) -> tuple[int, int]:
        return (0, FIRST.index(name)) if name in FIRST else (2, LAST.index(name)) if name in LAST else (1, 0)

    return {
        name: {split: sorted(points.items()) for split, points in sorted(found[name].items())}
        for name in sorted(found, key=rank)
    }
