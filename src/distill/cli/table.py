"""Several runs as one table: ``distill table outputs/sweeps/...``; mean ± std over seeds.

Reads every ``summary.json`` below the folders given.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from omegaconf import OmegaConf

from distill.config.schema import leaves
from distill.utils.errors import UserError

IGNORED = ("seed", "resume", "threads", "teachers_dir")


def load(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The summaries below the folders that have a student.

    Raises:
        UserError: there is none.
    """
    paths = sorted({path for folder in folders for path in folder.rglob("summary.json")})
    found = [json.loads(path.read_text()) | {"kd": _chosen(path.parent, "kd")} for path in paths]
    found = [report for report in found if "student" in report]
    if not found:
        raise UserError(f"no summary.json of a finished run below {', '.join(map(str, folders))}")
    return found


def _chosen(folder: Path, group: str) -> str | None:
    """The option of a config group that the run's command named, or None."""
    record = folder / "command.yaml"
    overrides: Any = OmegaConf.load(record).overrides if record.is_file() else []
    found = [override.partition("=")[2] for override in overrides if override.startswith(f"{group}=")]
    return found[-1] if found else None


def strategy(config: dict[str, Any]) -> str:
    """A kd configuration in a few words: its terms, and its flow."""
    kd = config["kd"]
    flows = [f"{kd['generations']} generations"] if kd.get("generations", 1) > 1 else []
    for key, own in (("assistants", 0), ("teachers", 1), ("peers", 1)):
        if kd.get(key):
            flows.append(f"{len(kd[key]) + own} {'students' if key == 'peers' else key}")
    return ", ".join([" + ".join(["CE", *kd["terms"]]) if kd["terms"] else "CE alone", *flows])


def rows(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per configuration, seeds taken together, in the order of the mean test accuracy.

    Shown beside the loss are the keys in which rows of one loss differ.
    """
    flat = [dict(leaves(report["config"])) for report in reports]
    losses = [strategy(report["config"]) for report in reports]
    named = len({report.get("kd") for report in reports}) > 1
    labels = [f"{report.get('kd') or '–'}: {loss}" for report, loss in zip(reports, losses, strict=True)]
    labels = labels if named else losses
    keys = sorted({key for one in flat for key in one if key not in IGNORED})
    keys = [key for key in keys if not key.startswith(("kd.terms", "logger", "callbacks"))]

    def value(i: int, key: str) -> Any:  # without a teacher, its settings are nothing
        return flat[i].get(key) if reports[i]["config"]["kd"]["terms"] or not key.startswith("teacher.") else "–"

    def differs(key: str) -> bool:
        seen: dict[str, set[str]] = {}
        for i, label in enumerate(labels):
            seen.setdefault(label, set()).add(json.dumps(value(i, key)))
        return any(len(values) > 1 for values in seen.values())

    varied = [key for key in keys if differs(key)]
    groups: dict[str, list[dict[str, Any]]] = {}
    for i, report in enumerate(reports):
        settings: dict[str, Any] = {"loss": labels[i], **{key: value(i, key) for key in varied}}
        groups.setdefault(json.dumps([settings, report["config"]["kd"]["terms"]]), []).append(report)
    found = []
    for key, group in groups.items():
        accuracy = [100 * report["student"]["last"]["test"]["acc"] for report in group]
        agreement = [100 * report["student"]["last"]["test"].get("agreement", float("nan")) for report in group]
        found.append(
            json.loads(key)[0]
            | {
                "test top-1 %, last epoch": _spread(accuracy),
                "agreement %": _spread(agreement),
                "seeds": " ".join(str(report["seed"]) for report in sorted(group, key=lambda r: int(r["seed"]))),
                "mean": mean(accuracy),
            }
        )
    return sorted(found, key=lambda row: float(row["mean"]))


def _spread(values: list[float]) -> str:
    """``mean ± std`` (of the sample, n − 1), or the value alone."""
    if any(value != value for value in values):
        return "–"
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    columns = [column for column in table[0] if column != "mean"]
    lines = [columns, ["---"] * len(columns), *([str(row[column]) for column in columns] for row in table)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="distill table", description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="run or sweep folders")
    print(markdown(rows(load(parser.parse_args(arguments).folders))))
