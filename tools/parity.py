"""Whether two commits compute the same: about 30 small commands of the product, recorded and compared.

python tools/parity.py record OUT.json [--root CHECKOUT] [--only run,resume] [--jobs 1]
python tools/parity.py compare A.json B.json

Everything runs on the CPU with one thread, where the same seed gives the same bits. Recorded are the tensors of every
weights file, checkpoint and teacher cache (as digests) and every number that is a function of the computation; left
out is what depends on the machine, the time or the place (``IGNORED``).
"""

import argparse
import csv
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

from parity_commands import COMMANDS, Call, Command

from parity_inputs import prepare

Flat = dict[str, Any]

# Keys that are no function of the computation. Graph files hold the names of modules and the paths of source files.
IGNORED = re.compile(
    r"schema_version|latency|busy|throughput|wall_s|seconds|versions|hardware|config|visible_devices|duration"
    r"|rows\.[^.]*(onnx|torch_export)[^.]*\.bytes"
)
# (pattern, replacement) for keys, in order, of both sides: what a commit renames goes here, from old to new.
ALIASES: list[tuple[str, str]] = [
    (r"\bpreparation\b", "pretraining"),
    (r"\baccuracy_kept\b", "score_relative_to_teacher"),
    (r"(\brows\b.*|\btested)\.accuracy$", r"\1.score"),  # of export.json
]
JSON = re.compile(r"(summary|evaluation[\w-]*|export|preprocess|predictions)\.json")
CSV = re.compile(r"(metrics|results|predictions)\.csv")
TEXT = re.compile(r"class(_\d+)?$|state$")  # columns and keys whose strings are results
LAST = "load_best_model_at_end=false"
ROW = ("model", "file", "job")  # a row is named by the first of these that it has
STORAGE = re.compile(r"[^/]+/data/\d+")  # of a tensor, in the archive that a checkpoint is


def computed(flat: Flat) -> Flat:
    """Without the keys that are no function of the computation."""
    return {key: value for key, value in flat.items() if not IGNORED.search(key)}


def normalise(flat: Flat) -> Flat:
    """The keys under which recordings are compared; to extend where results are renamed, see ``ALIASES``."""
    found = {}
    for key, value in computed(flat).items():
        for pattern, replacement in ALIASES:
            key = re.sub(pattern, replacement, key)
        found[key] = value
    return found


def row_name(row: Any) -> str | None:
    """What identifies a row of a list or table, of a path its end; None where nothing does."""
    names = [row[name] for name in ROW if isinstance(row, dict) and isinstance(row.get(name), str)]
    return "/".join(Path(names[0]).parts[-2:]) if names else None


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of what a JSON file holds: numbers, truth values, and strings that are results."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from numbers(inner, f"{key}.{row_name(inner) or i}".lstrip("."))
    elif isinstance(value, int | float) or (isinstance(value, str) and TEXT.search(key)):
        yield key, value


def columns(path: Path) -> Iterator[tuple[str, Any]]:
    """The numbers of a CSV file by column and row; rows without a name are counted, empty cells left out."""
    counts: Counter[str] = Counter()
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            name = row_name(row)
            for column, cell in row.items():
                if cell and (re.fullmatch(r"[-+.\deE]+|nan|-?inf", cell) or TEXT.search(column)):
                    yield f"{column}.{name or counts[column]}", cell
                    counts[column] += 1


def table(printed: str) -> Iterator[tuple[str, Any]]:
    """The cells of printed tables that hold digits, by row and column."""
    for line in printed.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        for i, cell in enumerate(cells[1:], 1):
            if re.search(r"\d", cell):
                yield f"printed.{cells[0]}.{i}", cell


def tensors(path: Path) -> Flat:
    """The digest of each tensor of a safetensors file: name, type, shape and bytes, no metadata."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header, content = json.loads(raw[8 : 8 + length]), memoryview(raw)[8 + length :]
    header.pop("__metadata__", None)
    found = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        digest = hashlib.sha256(f"{name} {entry['dtype']} {entry['shape']} ".encode())
        digest.update(content[begin:end])
        found[name] = digest.hexdigest()[:16]
    return found


def storages(path: Path) -> Flat:
    """One digest of the bytes of all tensors of a torch checkpoint, whatever their names and order.

    The pickled rest is left out: it holds paths.
    """
    with zipfile.ZipFile(path) as file:
        names = [name for name in file.namelist() if STORAGE.fullmatch(name)]
        found = sorted(hashlib.sha256(file.read(name)).hexdigest() for name in names)
    return {f"{len(found)} tensors": hashlib.sha256("".join(found).encode()).hexdigest()[:16]}


def digest(folder: Path) -> dict[str, Flat]:
    """All results below a folder. Fingerprints in names of folders stand as ``*``."""
    weights: dict[str, list[Flat]] = defaultdict(list)
    found: dict[str, list[Flat]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        key = re.sub(r"[0-9a-f]{12,}", "*", path.relative_to(folder).as_posix())
        if path.suffix == ".safetensors":
            weights[key].append(tensors(path))
        elif path.suffix == ".ckpt":
            weights[key].append(storages(path))
        elif JSON.fullmatch(path.name):
            found[key].append(dict(numbers(json.loads(path.read_text()))))
        elif CSV.fullmatch(path.name):
            found[key].append(dict(columns(path)))
    return {"tensors": merged(weights), "numbers": computed(merged(found))}


def merged(files: dict[str, list[Flat]]) -> Flat:
    """All contents as one; files whose names differ by a fingerprint alone are numbered in the order of content."""
    found: Flat = {}
    for key, several in files.items():
        for i, content in enumerate(sorted(several, key=lambda one: sorted(map(str, one.items())))):
            found |= {f"{key}{f'#{i}' if i else ''}:{name}": value for name, value in content.items()}
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
