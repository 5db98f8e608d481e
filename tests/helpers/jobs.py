"""Two ways to run the main job: in a process of its own, and in this one."""

import csv
import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import warm
from distill.config.compose import compose

ROOT = Path(__file__).resolve().parents[2]
CIFAR10 = ROOT.parent / "shared" / "data" / "cifar10"
TINY = ("threads=1", "trainer.max_epochs=2", "teacher.recipe.max_epochs=1", "logger=csv", "data.subset=200")
STOPPING = (
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=0",
    "+callbacks.early_stopping.min_delta=1",
)  # no epoch is better by that much: stops after the second


def command(*arguments, cwd=ROOT, timeout=800, **environment):
    """``python train.py ...`` in a process of its own; a fresh one where its environment is another."""
    if not environment:
        return script("train", *arguments, cwd=cwd, timeout=timeout)
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def script(name, *arguments, cwd, timeout=800):
    """``python <name>.py ...`` in a process of its own that need not import much."""
    return warm.run(ROOT / f"{name}.py", list(map(str, arguments)), cwd, timeout)


def interrupted(line, *arguments, cwd, **environment):
    """The same, stopped by Ctrl-C after it has printed the parts of ``line`` one after the other; its stderr."""
    awaited = line.split("  ")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *map(str, arguments)], cwd=cwd, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip
    try:
        for said in process.stdout:
            if awaited[0] in said:
                del awaited[0]
            if not awaited:
                break
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    return errors


def curve(run):
    """Losses, accuracies and schedules of every epoch."""
    with (run / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    keys = [key for key in rows[0] if key.partition("/")[0] in ("train", "val", "schedule")]
    return {key: [float(row[key]) for row in rows if row[key]] for key in keys}


def composed(*overrides, config_dirs=()):
    """The configuration that ``python train.py <overrides>`` composes."""
    return compose(list(map(str, overrides)), config_dirs)


def run_job(folder, *overrides, config_dirs=()):
    """The main job in this process, in ``folder``; teachers are kept beside it. What its ``summary.json`` holds."""
    from distill.config.schema import typed
    from distill.sweeps.lightning_callbacks import trainer_callbacks
    from distill.training.flows import check
    from distill.training.pipeline import run
    from distill.training.prepare import prepare

    folder.mkdir(parents=True, exist_ok=True)
    cfg = composed(
        f"teachers_dir={folder.parent / 'teachers'}",
        f"cache.dir={folder.parent / 'cache'}",
        "threads=1",
        "trainer.accelerator=cpu",
        *overrides,
        config_dirs=config_dirs,
    )
    check(typed(cfg))
    run(prepare(cfg, folder, partial(trainer_callbacks, folder)))
    return json.loads((folder / "summary.json").read_text())


def not_a_teacher(checkpoint):
    """Whether a training's checkpoint is a student's."""
    return checkpoint.parents[2].name != "teachers"


def stop_at(monkeypatch, step, where=not_a_teacher, error=None):
    """Ctrl-C (or a crash) at the end of a step of the trainings whose checkpoint ``where`` takes."""
    from distill.training.callbacks import GracefulStop

    original = GracefulStop.on_train_batch_end

    def patched(self, trainer, *args):
        if trainer.global_step == step and where(self.checkpoint):
            if error:
                raise error
            self.requested = True
        original(self, trainer, *args)

    monkeypatch.setattr(GracefulStop, "on_train_batch_end", patched)
