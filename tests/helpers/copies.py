"""Sweeps made of copies of a real run: its files, with other overrides and accuracies."""

import json
import shutil

from distill.sweeps import record
from summaries import kept


def copy_run(run, folder, overrides, val=None, test=None, teacher=None, **changes):
    """A finished job like ``run`` with other accuracies; ``changes`` are keys of its configuration ("kd__alpha")."""
    folder.mkdir(parents=True)
    report = json.loads((run / "summary.json").read_text())
    if val is not None:
        kept(report["student"])["val"]["acc"] = val
        kept(report["student"])["test"]["acc"] = test
    if teacher is not None:
        report["teacher"]["test"]["acc"] = report["teacher"]["val"]["acc"] = teacher
    for name, value in changes.items():
        *path, last = name.split("__")
        node = report["config"]
        for key in path:
            node = node[key]
        node[last] = value
    (folder / "summary.json").write_text(json.dumps(report))
    (folder / "command.yaml").write_text(json.dumps({"overrides": list(overrides), "config_dir": None}))
    shutil.copytree(run / "csv", folder / "csv")


def begin(sweep, *overrides, jobs=None):
    record.begin(sweep, {"overrides": list(overrides), "config_dir": None}, "basic", jobs)
