"""Mutated command lines of train.py, up to the instant at which training would begin; see docs/reliability.md."""

import gc
import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from campaign.findings import Findings
from campaign.forked import Done, call
from campaign.mutations import mutated, pool, real_commands, shown
from distill.config.compose import compose

MOST_SECONDS = 2.0  # of CPU, in a process that has imported everything
WHOLE_SECONDS = 10.0  # with data and models
MOST_CHARACTERS = 2_000
HANG_S = 120.0
NOT_WORDED = re.compile(r"error: (\w+: )?([A-Z]\w*(Error|Exception|Interrupt|Exit)|Errno|\[Errno \d+\])\b")


def numbers(text: str) -> list[int]:
    """Of commands: ``3`` is the first three, ``17-18,20-20`` are those."""
    if "-" not in text:
        return list(range(int(text)))
    ends = [part.split("-") for part in text.split(",")]
    return [number for first, last in ends for number in range(int(first), int(last) + 1)]


def enough(*_: object, **__: object) -> NoReturn:
    """Ends the process: what follows is no check."""
    raise SystemExit(0)


def read_once(load: Callable[..., Any]) -> Callable[..., Any]:
    """Hydra composes a run twice in the same way, the first time for ``hydra.mode`` alone: once is enough here."""
    composed: dict[object, Any] = {}

    def load_configuration(
        self: object, config_name: str, overrides: list[str], run_mode: object, **options: Any
    ) -> Any:
        key = (config_name, *overrides, run_mode)
        if key in composed and not any({*word} & {*",("} for word in overrides):  # no sweep, which the first lets pass
            return composed[key]
        composed[key] = load(self, config_name, overrides, run_mode, **options)
        return composed[key]

    return load_configuration


def without_work(whole: bool) -> Callable[[], None]:
    """What a command must not do here: train, start processes, submit jobs; unless ``whole``, load data and models."""

    def replace() -> None:
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra._internal.core_plugins.basic_launcher import BasicLauncher
        from hydra.plugins.sweeper import Sweeper

        from distill.sweeps import record
        from distill.training import pipeline, prepare
        from distill.utils import launcher
        from hydra_plugins import distill_ray, distill_slurm

        pipeline.run = launcher.launch = enough
        if not whole:
            prepare.prepare = enough
        ConfigLoaderImpl.load_configuration = read_once(ConfigLoaderImpl.load_configuration)  # type: ignore[method-assign]
        fail, launch, validate = record.fail, BasicLauncher.launch, Sweeper.validate_batch_is_legal

        def fail_once(*arguments: object) -> NoReturn:
            print(f"error: {fail(*arguments)}", file=sys.stderr)  # type: ignore[arg-type]
            raise SystemExit(1)

        record.fail = fail_once  # type: ignore[assignment]
        # Of a sweep its first two jobs: all of some hundred would be composed, as they should.
        BasicLauncher.launch = lambda self, jobs, **kwargs: launch(self, list(jobs)[:2], **kwargs)  # type: ignore[method-assign]
        Sweeper.validate_batch_is_legal = lambda self, batch: validate(self, list(batch)[:2])  # type: ignore[method-assign]
        distill_ray.RayLauncher.launch = distill_slurm.SlurmLauncher.launch = enough  # type: ignore[method-assign]

    return replace


def preload() -> None:
    """Imports and parses once what every command needs, so that a fork need not."""
    for name in ("distill.training.prepare", "distill.sweeps.lightning_callbacks", "optuna", "ray", "submitit"):
        importlib.import_module(name)
    pool()
    for words in real_commands():
        try:
            compose([word for word in words if "=" in word and not word.startswith("-")])
        except Exception:  # a command for -m, or with data that are not here: it has filled the parser's tables
            continue
    gc.collect()
    gc.freeze()  # pages that nobody writes are not copied in a fork


def problems(done: Done, most_seconds: float = MOST_SECONDS) -> list[str]:
    """What is wrong with the way in which a command ended."""
    found = []
    if done.seconds > most_seconds:
        found.append(f"{done.seconds:.1f} s of CPU")
    if done.complaint:
        return [*found, done.complaint]
    lines = done.output.split("\n")
    begins = [index for index, line in enumerate(lines) if re.match(r"error\b", line, re.IGNORECASE)]
    if done.status == 0:
        return [*found, *(f"status 0 with {lines[index][:200]!r}" for index in begins)]
    if len(begins) > 1 or any(line.strip() for line in lines[begins[0] + 1 :]):
        found.append(f"more than one line: {' | '.join(lines[begins[0] :])[:300]!r}")
    if len(lines[begins[0]]) > MOST_CHARACTERS:
        found.append(f"an error of {len(lines[begins[0]])} characters")
    if NOT_WORDED.match(lines[begins[0]]):
        found.append(f"not worded: {lines[begins[0]][:200]}")
    return found


def campaign(folder: Path, findings: Findings, numbers: Iterable[int], seed: int, whole_every: int = 40) -> None:
    """Each command in a fork, in a folder of its own.

    Args:
        folder: in which they run.
        findings: where they are counted.
        numbers: of the commands; see :func:`campaign.mutations.mutated`.
        seed: of the mutations.
        whole_every: so many, one loads data and builds models, too.
    """
    preload()
    at = folder.joinpath("a", *"bcdefgh")  # whatever goes up stays below
    os.environ["HOME"] = str(folder / "a" / "home")
    before = {whole: without_work(whole) for whole in (True, False)}
    at.mkdir(parents=True)
    for whole, replace in before.items():
        if (done := call(["train", "trainer.accelerator=cpu"], at, replace)).status:
            sys.exit(f"error: the unchanged command fails ({whole=}):\n{done.output}")
    shutil.rmtree(folder / "a")
    for number in numbers:
        names, words = mutated(seed, number)
        whole = number % whole_every == 0
        at.mkdir(parents=True)
        done = call(["train", *words], at, before[whole], kill_at=20.0, timeout=HANG_S)
        findings.add(
            "fuzz", f"{seed}-{number} {names}: {shown(words)}", problems(done, WHOLE_SECONDS if whole else MOST_SECONDS)
        )
        shutil.rmtree(folder / "a")
