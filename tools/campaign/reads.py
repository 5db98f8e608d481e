"""Damaged files: each file that is read is emptied, cut in half and bit-flipped before it is read."""

import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from campaign.findings import Findings
from campaign.forked import call
from campaign.works import TINY, WORKS, Bench, differences, results
from parity_results import Flat

RUN = WORKS["run"]
# The commands that read a finished run's folder; each writes into its own folder ``read``.
READERS = {
    "evaluate": ("evaluate", "run=run", "map=none", "report=false", "output=read"),
    "export": ("export", "run=run", "format=safetensors", "seconds=0", "output=read"),
    "compare": ("compare", "run", "sweep/0", "output=read/compare.html"),
    "table": ("table", "run"),
    "report": ("report", "sweep", "output=read"),
    "resume": ("train", "resume=run"),
    "sweep": ("train", "-m", "sweep.resume=sweep"),
    "again": ("train", *TINY, "teachers_dir=teachers", "cache.dir=cache", "hydra.run.dir=read"),
    "init": ("train", *TINY, "teachers_dir=teachers", "cache.dir=cache", "hydra.run.dir=read", "init=run"),
}  # fmt: skip
# What is damaged (patterns below the folder), who reads it, and what must be missing for it to be read.
Damaged = tuple[str, tuple[str, ...], tuple[str, ...]]
DAMAGED: tuple[Damaged, ...] = (
    ("run/summary.json", ("evaluate", "export", "compare", "table", "resume"), ()),
    ("run/evaluation.json", ("compare",), ()),
    ("run/student.safetensors", ("evaluate", "export", "init"), ()),
    ("run/config.yaml", ("resume",), ("run/summary.json",)),
    ("run/command.yaml", ("table",), ()),
    ("run/command.yaml", ("resume",), ("run/summary.json",)),
    ("run/checkpoints/last.ckpt", ("resume",), ("run/summary.json",)),
    ("run/checkpoints/best.ckpt", ("resume",), ("run/summary.json",)),
    ("run/checkpoints/last.ckpt", ("resume",), ("run/summary.json", "run/finished.json")),
    ("run/finished.json", ("resume",), ("run/summary.json",)),
    ("run/status.json", ("resume",), ("run/summary.json",)),
    ("teachers/*/teacher.safetensors", ("evaluate", "again"), ()),
    ("teachers/*/teacher.json", ("again",), ()),
    ("teachers/*/finished.json", ("again",), ("teachers/*/teacher.json",)),
    ("teachers/*/checkpoints/last.ckpt", ("again",), ("teachers/*/teacher.json",)),
    ("cache/*/train-*.safetensors", ("again",), ()),
    ("cache/*/test.safetensors", ("again",), ()),
    ("cache/*/key.json", ("again",), ()),
    ("cache/distill-teacher-cache.json", ("again",), ()),
    ("sweep/sweep.yaml", ("sweep", "report"), ("sweep/1",)),
    ("sweep/0/summary.json", ("sweep", "report"), ()),
    ("sweep/0/command.yaml", ("sweep", "report"), ()),
    ("sweep/0/config.yaml", ("sweep",), ("sweep/0/summary.json",)),
)


def emptied(content: bytes, _: random.Random) -> bytes:
    """Nothing is left."""
    return content[:0]


def halved(content: bytes, at_random: random.Random) -> bytes:
    """The end is missing."""
    return content[: at_random.randint(1, len(content) - 1)]


def flipped(content: bytes, at_random: random.Random) -> bytes:
    """One bit is another."""
    at, changed = at_random.randrange(len(content)), bytearray(content)
    changed[at] ^= 1 << at_random.randrange(8)
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "emptied": emptied,
    "cut": halved,
    "bit flipped": flipped,
}


def remove(at: Path, missing: Sequence[str]) -> None:
    """Deletes what these patterns match."""
    for path in [path for pattern in missing for path in at.glob(pattern)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


class Reads:
    """What each reader prints and writes of an intact folder, to be compared with."""

    def __init__(self, bench: Bench, damaged: Sequence[Damaged] = DAMAGED) -> None:
        self.bench, self.damaged = bench, damaged
        self.source = bench.folder / "reference" / "reads"
        shutil.copytree(bench.reference(WORKS["sweep"]), self.source)
        for arguments in (("evaluate", "run=run", "map=none", "report=false"),):
            call(arguments, self.source)
        (self.source / "run" / "status.json").write_text('{"host": "elsewhere", "pid": 1, "updated": 0}\n')
        self._expected: dict[tuple[str, Sequence[str]], Flat] = {}

    def copy(self, name: str, missing: Sequence[str]) -> Path:
        """An intact folder, less what is missing."""
        at = self.bench.folder / name
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(self.source, at)
        remove(at, missing)
        return at

    def outcome(
        self, reader: str, at: Path, damaged: Path | None = None, content: bytes = b""
    ) -> tuple[str | None, str | None, Flat]:
        """A complaint, an error line, and the results of a reader, less the damaged file if it still is."""
        done = call(READERS[reader], at)
        if damaged is not None and damaged.is_file() and damaged.read_bytes() == content:
            damaged.unlink()
        shutil.rmtree(at / "cache", ignore_errors=True)  # may be there or not
        flat = dict(results(at, RUN))
        if reader in ("table", "compare", "report"):
            lines = [line for line in done.output.splitlines() if line.startswith(("|", "│"))]
            flat |= {f"printed line {number}": line for number, line in enumerate(lines)}
        damage_shown = re.search(r".*is not what a run .*", done.output)  # a report tells of a job of many
        return done.complaint, done.error or (damage_shown and damage_shown[0]), flat

    def expected(self, reader: str, missing: Sequence[str]) -> Flat:
        """The results of a reader where nothing is damaged."""
        if (reader, missing) not in self._expected:
            complaint, error, flat = self.outcome(reader, self.copy("intact", missing))
            if complaint or error:
                raise RuntimeError(f"{reader} fails on an intact folder without {missing}: {complaint or error}")
            self._expected[reader, missing] = flat
        return self._expected[reader, missing]

    def trials(self, repeats: int, at_random: random.Random) -> Iterator[tuple[str, list[str]]]:
        """Every file, damage and reader: what was tried, and what was wrong."""
        for pattern, readers, missing in self.damaged:
            for reader in readers:
                expected = self.expected(reader, missing)
                for damage, change in DAMAGES.items():
                    for _ in range(repeats if change is not emptied else 1):
                        at = self.copy("damaged", missing)
                        path = at_random.choice(sorted(at.glob(pattern)))
                        content = change(path.read_bytes(), at_random)
                        path.write_bytes(content)
                        outcome = self.outcome(reader, at, path, content)
                        damaged = f"{path.relative_to(at).as_posix()}:"
                        yield f"{reader} with {pattern} {damage}", problems(expected, *outcome, damaged)


def problems(expected: Flat, complaint: str | None, error: str | None, actual: Flat, damaged: str) -> list[str]:
    """An error line is right, and so are the results of an intact folder (less those of the damaged file)."""
    if complaint or error:
        return [complaint] if complaint else []
    damaged = re.sub(r"[0-9a-f]{12,}", "*", damaged)
    wrong = differences(expected, actual)
    return [f"differs without an error: {key}" for key in wrong if actual.get(key) or not key.startswith(damaged)]


def campaign(bench: Bench, findings: Findings, repeats: int, seed: int, damaged: Sequence[Damaged] = DAMAGED) -> None:
    """Each damage so often (emptied: once), to every file and for every command that reads it."""
    for tried, wrong in Reads(bench, damaged).trials(repeats, random.Random(seed)):
        findings.add("reads", tried, wrong)
