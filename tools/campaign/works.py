"""The work that the campaigns disturb: small runs, sweeps, cache fills, evaluations and exports on the digits."""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaign.forked import Done, call
from parity_results import Flat, digest

TINY = (
    "model=resnet8", "teacher=resnet8", "threads=1", "trainer.accelerator=cpu", "trainer.max_epochs=2",
    "teacher.recipe.max_epochs=2", "data.subset=150", "logger=csv",
)  # fmt: skip
# What depends on how often a process was begun anew, and not on what was computed.
HISTORY = re.compile(r"resumed|partial_train|teacher_cache|begun|found|drift")


@dataclass(frozen=True)
class Work:
    """Work in a folder that leaves results there.

    Attributes:
        name: of the kind of work.
        command: its arguments.
        again: those that continue or repeat it after it was killed; None: the same ones.
        begun: a file below the folder; once it exists, ``again`` is used.
        needs: the work whose folder, copied, it starts from.
        results: the part of the folder whose results count.
    """

    name: str
    command: Sequence[str]
    again: Sequence[str] | None = None
    begun: str = ""
    needs: str | None = None
    results: str = "."

    def next_command(self, at: Path) -> list[str]:
        """The arguments to call now."""
        arguments = self.again if self.again is not None and (at / self.begun).is_file() else self.command
        return list(arguments)


STORES = ("teachers_dir=teachers", "cache.dir=cache")
RUN = ("train", *TINY, *STORES)
WORKS = {
    work.name: work
    for work in (
        Work("run", (*RUN, "hydra.run.dir=run"), ("train", "resume=run"), "run/config.yaml"),
        Work("features", (*RUN, "kd=combined", "hydra.run.dir=run"), ("train", "resume=run"),
             "run/config.yaml"),
        Work("cache", (*RUN, "kd.T=2", "trainer.max_epochs=3", "hydra.run.dir=more"),
             ("train", "resume=more"), "more/config.yaml", needs="run"),
        Work("sweep", (*RUN, "trainer.max_epochs=1", "-m", "kd.T=2,8", "hydra.sweep.dir=sweep"),
             ("train", "-m", "sweep.resume=sweep"), "sweep/sweep.yaml", needs="run", results="sweep"),
        Work("evaluate", ("evaluate", "run=run", "map=none", "overwrite=true"), needs="run"),
        Work("export", ("export", "run=run", "format=onnx,safetensors", "seconds=0", "overwrite=true"),
             needs="run"),
    )
}  # fmt: skip


def results(at: Path, work: Work) -> Flat:
    """Everything that was computed: digests of all tensors, and the numbers of summaries, evaluations and exports."""
    found = digest(at / work.results)
    flat = found["tensors"] | {key: value for key, value in found["numbers"].items() if ".csv" not in key}
    return {key: value for key, value in flat.items() if not HISTORY.search(key)}


def differences(expected: Flat, actual: Flat) -> list[str]:
    """The keys whose values differ; what a cache does not hold is no difference."""
    keys = {*expected, *(key for key in actual if not key.startswith("cache/"))}
    return sorted(
        key for key in keys if expected.get(key) != actual.get(key) and (key in actual or not key.startswith("cache/"))
    )


class Bench:
    """A folder in which works are done; each is done once undisturbed, in ``reference/<name>``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds: dict[str, float] = {}
        self._expected: dict[str, Flat] = {}

    def begin(self, work: Work, name: str) -> Path:
        """A new folder for the work, with what it needs."""
        at = self.folder / name
        shutil.rmtree(at, ignore_errors=True)
        if work.needs is None:
            at.mkdir(parents=True)
        else:
            shutil.copytree(self.reference(WORKS[work.needs]), at, symlinks=True)
        return at

    def reference(self, work: Work) -> Path:
        """The folder in which the work was done undisturbed."""
        at = self.folder / "reference" / work.name
        if work.name not in self._expected:
            self.begin(work, f"reference/{work.name}")
            done = self.call(work, at)
            if done.status:
                sys.exit(f"error: {work.name} fails undisturbed:\n{done.output}")
            self.seconds[work.name], self._expected[work.name] = done.seconds, results(at, work)
        return at

    def call(
        self, work: Work, at: Path, before: Callable[[], None] | None = None, kill_at: float = float("inf")
    ) -> Done:
        """Does the work, or continues it; see :func:`campaign.forked.call`."""
        return call(work.next_command(at), at, before, kill_at)

    def wrong(self, work: Work, at: Path) -> list[str]:
        """The results that are not those of undisturbed work."""
        self.reference(work)
        return differences(self._expected[work.name], results(at, work))
