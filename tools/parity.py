"""Whether two commits compute the same: about 30 small commands of the product, recorded and compared.

python tools/parity.py record OUT.json [--root CHECKOUT] [--only run,resume] [--jobs 1]
python tools/parity.py compare A.json B.json

Everything runs on the CPU with one thread, where the same seed gives the same bits. Recorded are the tensors of every
weights file, checkpoint and teacher cache (as digests) and every number that is a function of the computation; left
out is what depends on the machine, the time or the place (``IGNORED`` in parity_results.py).
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from parity_commands import COMMANDS, Call, Command
from parity_inputs import prepare
from parity_results import Flat, computed, digest, table

# (pattern, replacement) for keys, in order, of both sides: what a commit renames goes here, from old to new.
ALIASES: list[tuple[str, str]] = [
    (r"\bpreparation\b", "pretraining"),
    (r"\baccuracy_kept\b", "score_relative_to_teacher"),
    (r"(\brows\b.*|\btested)\.accuracy$", r"\1.score"),  # of export.json
]
LAST = "load_best_model_at_end=false"


def normalise(flat: Flat) -> Flat:
    """The keys under which recordings are compared; to extend where results are renamed, see ``ALIASES``."""
    found = {}
    for key, value in computed(flat).items():
        for pattern, replacement in ALIASES:
            key = re.sub(pattern, replacement, key)
        found[key] = value
    return found


class Recorder:
    """Runs commands of a checkout below one folder, each after those that it needs."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root, self.folder = root, folder
        sources = str(root / "src")
        path = [sources, str(folder / "inputs" / "python"), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PARITY_SOURCES": sources,
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "COLUMNS": "200",
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        }
        schema = root / "src/distill/config/schema.py"  # older trees, without the file, do not know the key either
        self.last = LAST if schema.is_file() and LAST.partition("=")[0] in schema.read_text() else ""
        self.done = {command.name: threading.Event() for command in COMMANDS}
        self.failed: dict[str, str] = {}

    def call(self, call: Call, out: Path) -> str:
        """What the script printed.

        Raises:
            RuntimeError: it ended with another status.
        """
        line = [sys.executable, call.script]
        for argument in call.arguments:
            filled = argument.replace("{out}", str(out)).replace("{all}", str(self.folder))
            line += [each] if (each := filled.replace("{last}", self.last)) else []
        done = subprocess.run(line, cwd=self.root, env=self.environment, capture_output=True, text=True)
        if done.returncode != call.status:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise RuntimeError(f"{call.script} ended with status {done.returncode}, not {call.status}:\n{said}")
        return done.stdout

    def record(self, command: Command) -> dict[str, Flat]:
        """The results of one command; empty where it failed, or one that it needs."""
        out = self.folder / command.name
        try:
            for name in command.needs:
                self.done[name].wait()
                if name in self.failed:
                    raise RuntimeError(f"needs {name}, which failed")
            begun = monotonic()
            out.mkdir()
            printed = [self.call(call, out) for call in command.calls][-1]
            results = digest(out)
            if command.printed:
                results["numbers"] |= computed(dict(table(printed)))
            sizes = f"{len(results['tensors'])} tensors, {len(results['numbers'])} numbers"
            print(f"{command.name}: {monotonic() - begun:.0f} s, {sizes}", flush=True)
            return results
        except (RuntimeError, OSError, ValueError) as error:
            self.failed[command.name] = str(error)
            print(f"{command.name}: failed: {error}", file=sys.stderr, flush=True)
            return {}
        finally:
            self.done[command.name].set()


def wanted(only: str | None) -> list[Command]:
    """The commands of these names and those that they need, in order."""
    names = {command.name for command in COMMANDS}
    asked = set(only.split(",")) if only else set(names)
    if asked - names:
        sys.exit(f"error: no command {', '.join(sorted(asked - names))}; there are {', '.join(sorted(names))}")
    for command in reversed(COMMANDS):  # what is needed stands before what needs it
        if command.name in asked:
            asked |= set(command.needs)
    return [command for command in COMMANDS if command.name in asked]


def record(output: Path, root: Path, only: str | None, jobs: int) -> int:
    """Runs the commands in a checkout and writes what came out; the exit status."""
    commands = wanted(only)
    with tempfile.TemporaryDirectory(prefix="parity-", ignore_cleanup_errors=True) as place:
        folder = Path(place)
        prepare(folder / "inputs")
        recorder = Recorder(root.resolve(), folder)
        with ThreadPoolExecutor(jobs) as pool:  # in order: what a command needs has begun before it
            results = list(pool.map(recorder.record, commands))
    found = {command.name: result for command, result in zip(commands, results, strict=True)}
    output.write_text(json.dumps(found, indent=1) + "\n")
    return 1 if recorder.failed else 0


def differences(a: Flat, b: Flat) -> list[str]:
    """A phrase per key that is not the same on both sides."""
    a, b = normalise(a), normalise(b)
    found = []
    for key in dict.fromkeys([*a, *b]):
        before, after = (json.dumps(side[key]) if key in side else "missing" for side in (a, b))
        if before != after:
            found.append(f"`{key}` {before} → {after}")
    return found


def compare(a: Path, b: Path, shown: int = 4) -> int:
    """Prints a line per command; 1 if anything differs."""
    before, after = (json.loads(path.read_text()) for path in (a, b))
    print("| command | tensors | numbers |\n| --- | --- | --- |")
    same = True
    for name in dict.fromkeys([*before, *after]):
        cells = []
        for kind in ("tensors", "numbers"):
            one, two = (side.get(name, {}).get(kind) for side in (before, after))
            if one is None or two is None:
                same = False
                cells.append("not recorded on both sides")
                continue
            found = differences(one, two)
            same = same and not found
            more = f" and {len(found) - shown} more" if len(found) > shown else ""
            cells.append(f"{len(found)} differ: {', '.join(found[:shown])}{more}" if found else f"same ({len(two)})")
        print(f"| {name} | {' | '.join(cells)} |")
    return 0 if same else 1


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run the commands in a checkout and write what came out")
    recording.add_argument("output", type=Path)
    recording.add_argument("--root", type=Path, default=Path.cwd(), help="the checkout (default: the current folder)")
    recording.add_argument("--only", help="names of commands, with commas; what they need is run too")
    recording.add_argument("--jobs", type=int, default=1, help="commands at once (default: 1)")
    comparing = commands.add_parser("compare", help="print what differs; exit status 1 if anything does")
    comparing.add_argument("a", type=Path)
    comparing.add_argument("b", type=Path)
    given = parser.parse_args()
    if given.command == "compare":
        return compare(given.a, given.b)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background job ignores, and hands on
    return record(given.output, given.root, given.only, given.jobs)


if __name__ == "__main__":
    sys.exit(main())
