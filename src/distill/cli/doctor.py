"""``distill doctor`` says what this machine and this installation have."""

import os
import platform
import shutil
import sys
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from distill.cli.commands import launch
from distill.config.options import arg
from distill.utils.cgroup import cpu_quota
from distill.utils.errors import one_line
from distill.utils.processes import allowed_cores, usable_cores
from distill.utils.units import short

ABOUT = """
Says what this machine and this installation have: versions, devices, bf16, cores, extras, room for results.
It ends with status 1 where torch cannot be imported or the folder cannot be written.

  {command}
  {command} output=/scratch/outputs
"""
OF_THE_REPOSITORY = ("dev", "bench")  # extras for work on distill itself
Lines = Iterator[tuple[str, str]]


@dataclass
class Options:
    """The keys of ``distill doctor``."""

    output: str = arg("the folder in which results would be written", "outputs")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _devices() -> Lines:
    """Torch, its devices, and their bf16."""
    import torch

    from distill.utils.environment import hardware
    from distill.utils.precision import cpu_bf16

    yield "torch", torch.__version__
    with warnings.catch_warnings(record=True) as said:  # of a driver that is too old, for example
        warnings.simplefilter("always")
        has_cuda = torch.cuda.is_available()
    for i in range(torch.cuda.device_count() if has_cuda else 0):
        gpu = torch.cuda.get_device_properties(i)
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        yield f"cuda:{i}", f"{gpu.name}, {short(gpu.total_memory, 'B')}, {bf16}"
    if torch.backends.mps.is_available():
        yield "mps", "there"
    elif not has_cuda:
        why = "torch is built without CUDA" if torch.version.cuda is None else "torch finds no device"
        yield "GPU", f"none: {' '.join(str(said[-1].message).split()) if said else why}"
    units = cpu_bf16()
    yield "CPU", hardware(torch.device("cpu")).cpu
    yield "bf16 on it", f"{units}; trainer.precision=auto uses it where it pays" if units else "none: float32 is faster"


def _cores() -> str:
    quota = cpu_quota()
    limit = f"the cgroup's quota is {quota:g}" if quota is not None else "the cgroup sets no quota"
    return f"{usable_cores()} used, of {os.cpu_count()}: {allowed_cores()} may be run on, {limit}"


def _extras() -> Lines:
    """Each extra of the package's metadata: its packages, or what is missing and how it is installed."""
    needed = [Requirement(text) for text in requires("distill") or ()]
    for extra in metadata("distill").get_all("Provides-Extra") or ():
        own = [
            each for each in needed if each.marker and each.marker.evaluate({"extra": extra}) and each.name != "distill"
        ]
        if extra in OF_THE_REPOSITORY or not own:
            continue
        there = {each.name: _version(each.name) for each in own}
        lacking = [
            f"{each.name} {there[each.name]}" if there[each.name] != "missing" else each.name
            for each in own
            if there[each.name] == "missing" or not each.specifier.contains(there[each.name], prereleases=True)
        ]
        found = ", ".join(f"{name} {number}" for name, number in there.items())
        get = f"pip install 'distill[{extra}]'"
        yield f"distill[{extra}]", f"lacks {', '.join(lacking)}: {get}" if lacking else found


def _output(folder: Path) -> tuple[str, bool]:
    """Whether a folder, or the nearest above it that is there, takes a file; its free room."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    where = "" if there == folder else f" (not there yet: {there} is)"
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
            file.flush()
        return f"{folder}{where}: can be written, {short(shutil.disk_usage(there).free, 'B')} free", True
    except OSError as error:
        return f"{folder}{where}: cannot be written ({one_line(error)})", False


def doctor(options: Options) -> int:
    """Prints the table; 1 where nothing can be trained here."""
    rows = [("Python", f"{platform.python_version()}, {sys.executable}"), ("distill", _version("distill"))]
    rows.append(("lightning", _version("lightning")))
    try:
        rows += _devices()
        works = True
    except (ImportError, OSError) as error:
        rows.append(("torch", f"{_version('torch')} cannot be imported: {one_line(error)}"))
        works = False
    rows.append(("cores", _cores()))
    if _version("distill") != "missing":
        rows += _extras()
    output, writable = _output(Path(options.output))
    rows.append(("output", output))
    _show(rows)
    return 0 if works and writable else 1


def _show(rows: list[tuple[str, str]]) -> None:
    """A line each; a terminal gets them broken at spaces, a file as they are."""
    label = max(len(name) for name, _ in rows) + 2
    width = max(shutil.get_terminal_size().columns, label + 20) if sys.stdout.isatty() else sys.maxsize
    for name, text in rows:
        lines = textwrap.wrap(text, width - label, break_long_words=False, break_on_hyphens=False)
        print(f"{name:<{label}}" + f"\n{'':<{label}}".join(lines), flush=True)


main = partial(launch, Options, doctor, ABOUT)
