"""Several runs as one table: ``distill table outputs/sweeps/...``; mean ± std over seeds.

Reads every ``summary.json`` below the folders given.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from distill.config.key_sets import NOT_A_SETTING
from distill.config.schema import leaves
from distill.evaluation.compare.entries import strategy
from distill.training.summary import FILE, RunSummary, StudentResult, read
from distill.utils.console import markdown_table
from distill.utils.errors import UserError


class StudentRun(NamedTuple):
    """A finished run with a student, and the option of the group kd that its command named."""

    summary: RunSummary
    student: StudentResult
    kd: str | None


def load(folders: Sequence[Path]) -> list[StudentRun]:
    """The runs below the folders that have a student.

    Raises:
        UserError: there is none, or a summary that cannot be read.
    """
    paths = sorted({path.parent for folder in folders for path in folder.rglob(FILE)})
    summaries = [(path, read(path)) for path in paths]
    runs = [StudentRun(run, run.student, _kd_option(path)) for path, run in summaries if run.student]
    if not runs:
        raise UserError(f"no {FILE} of a finished run below {', '.join(map(str, folders))}")
    return runs


def _kd_option(folder: Path) -> str | None:
    """The option of the config group kd that the run's command named, or None."""
    record = folder / "command.yaml"
    overrides: Any = OmegaConf.load(record).overrides if record.is_file() else []
    options = [override.partition("=")[2] for override in overrides if override.startswith("kd=")]
    return options[-1] if options else None


def rows(runs: Sequence[StudentRun]) -> list[dict[str, Any]]:
    """One row per configuration, seeds taken together, in the order of the mean test accuracy.

    Further columns are the keys in which runs with the same loss differ.
    """
    configs = [run.summary.config for run in runs]
    flat = [dict(leaves(config)) for config in configs]
    labels = list(map(strategy, configs))
    if len({run.kd for run in runs}) > 1:
        labels = [f"{run.kd or '–'}: {label}" for run, label in zip(runs, labels, strict=True)]
    keys = sorted({key for one in flat for key in one if key not in NOT_A_SETTING})
    keys = [key for key in keys if not key.startswith(("kd.terms", "logger", "callbacks"))]

    def value(i: int, key: str) -> Any:  # without a teacher, its settings are nothing
        return flat[i].get(key) if configs[i]["kd"]["terms"] or not key.startswith("teacher.") else "–"

    def differs(key: str) -> bool:
        pairs = {(label, json.dumps(value(i, key))) for i, label in enumerate(labels)}
        return len(pairs) > len(set(labels))

    varied = [key for key in keys if differs(key)]
    groups: dict[str, list[StudentRun]] = {}
    for i, run in enumerate(runs):
        settings: dict[str, Any] = {"loss": labels[i], **{key: value(i, key) for key in varied}}
        groups.setdefault(json.dumps([settings, configs[i]["kd"]["terms"]]), []).append(run)
    table = []
    for key, group in groups.items():
        accuracy = [100 * run.student.test.acc for run in group]
        agreement = [100 * run.student.test.get("agreement", math.nan) for run in group]
        table.append(
            json.loads(key)[0]
            | {
                "test top-1 %, last epoch": _spread(accuracy),
                "agreement %": _spread(agreement),
                "seeds": " ".join(map(str, sorted(run.summary.seed for run in group))),
                "mean": mean(accuracy),
            }
        )
    return sorted(table, key=lambda row: float(row["mean"]))


def _spread(values: list[float]) -> str:
    """``mean ± std`` (of the sample, n − 1), or the value alone."""
    if any(value != value for value in values):
        return "–"
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = [column for column in table[0] if column != "mean"]
    return markdown_table([columns, *([str(row[column]) for column in columns] for row in table)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(prog="distill table", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run or sweep folders")
    print(markdown(rows(load(parser.parse_args(arguments).folders))))
