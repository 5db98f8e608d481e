"""The results below a folder as flat names and values: digests of tensors, and the numbers that a run computed."""

import csv
import hashlib
import json
import re
import struct
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Flat = dict[str, Any]

# Keys that are no function of the computation. Graph files hold the names of modules and the paths of source files.
IGNORED = re.compile(
    r"schema_version|latency|busy|throughput|wall_s|seconds|versions|hardware|config|visible_devices|duration"
    r"|rows\.[^.]*(onnx|torch_export)[^.]*\.bytes"
)
JSON = re.compile(r"(summary|evaluation[\w-]*|export|preprocess|predictions)\.json")
CSV = re.compile(r"(metrics|results|predictions)\.csv")
TEXT = re.compile(r"class(_\d+)?$|state$")  # columns and keys whose strings are results
ROW = ("model", "file", "job")  # a row is named by the first of these that it has
STORAGE = re.compile(r"[^/]+/data/\d+")  # of a tensor, in the archive that a checkpoint is


def computed(flat: Flat) -> Flat:
    """Without the keys that are no function of the computation."""
    return {key: value for key, value in flat.items() if not IGNORED.search(key)}


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
