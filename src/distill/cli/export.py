"""``python export.py``: its keys, and what is refused before anything heavy is imported."""

import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from distill.cli.commands import arg
from distill.evaluation.run_folder import Record
from distill.utils.errors import UserError, nearest
from distill.utils.paths import below_folders, cannot_write

ABOUT = """Exports the student alone of a finished run, runs the files on test images beside the PyTorch model, and
writes a model card (README.md) and the measurements (export.json) beside them.

  python export.py run=outputs/2026-01-31/12-00-00 format=onnx
  python export.py run=outputs/2026-01-31/12-00-00 format=onnx,torch_export,safetensors quantize=int8
  python export.py run=outputs/2026-01-31/13-00-00 quantize=int8 against=outputs/2026-01-31/12-00-00"""

FORMATS = ("onnx", "torch_export", "safetensors")
PREPROCESS = ("embedded", "described")
QUANTIZE = ("int8",)
CALIBRATION = ("minmax", "entropy")
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime")}


@dataclass
class Options:
    """The keys of ``export.py``."""

    run: str = arg("a finished run's folder, or a weights file in it")
    format: Any = arg(f"one or several, with commas, of {', '.join(FORMATS)}", "onnx")
    output: str | None = arg("folder to write; null: <run>/export", None)
    overwrite: bool = arg("replace that folder where it exists", False)
    preprocess: str = arg("embedded: the graph takes raw pixels and normalises; described: in preprocess.json only",
                          "embedded")  # fmt: skip
    quantize: str | None = arg("int8: an ONNX file in int8 as well, calibrated on training images", None)
    calibration: str = arg("ranges of activations in int8: minmax or entropy", "minmax")
    calibration_images: int = arg("training images that it sees", 512)
    images: int = arg("test images to compare on, at most", 10000)
    tolerance: float = arg("largest difference of a logit from PyTorch's in float32; above it: refused", 1e-3)
    max_accuracy_drop: float = arg("int8: largest loss of test top-1, as a share; above it: refused", 0.02)
    against: str | None = arg("another run, whose student's files are measured in the same table and not kept", None)
    seconds: float = arg("time to measure each model and batch size; 0: no measurement of speed", 1.0)
    threads: int | None = arg("CPU threads; null: as the run had", None)
    license: str = arg("licence of the model card, by its Hugging Face identifier", "unknown")


def formats(options: Options) -> list[str]:
    """The formats asked for, each once.

    Raises:
        UserError: one that does not exist, or int8 without ONNX.
    """
    given = options.format if isinstance(options.format, list) else str(options.format or "").split(",")
    names = list(dict.fromkeys(str(name).strip() for name in given))
    for name in names or [""]:
        if name not in FORMATS:
            raise UserError(f"format={name} is unknown; {nearest(name, FORMATS)}")
    return names


def check(options: Options) -> list[str]:
    """The formats, after every key was looked at.

    Raises:
        UserError: a value out of range, a package that is missing.
    """
    names = formats(options)
    for key, allowed in (("preprocess", PREPROCESS), ("quantize", QUANTIZE), ("calibration", CALIBRATION)):
        value = getattr(options, key)
        if value is not None and value not in allowed:
            raise UserError(f"{key}={value} is unknown; {nearest(value, allowed)}")
    for key, least in (
        ("images", 1),
        ("calibration_images", 1),
        ("tolerance", 0),
        ("max_accuracy_drop", 0),
        ("seconds", 0),
        ("threads", 1),
    ):
        value = getattr(options, key)
        if value is not None and not value >= least:
            raise UserError(f"{key} must be at least {least}, got {value}")
    if options.quantize and "onnx" not in names:
        raise UserError("quantize=int8 quantises the ONNX file: add onnx to format")
    for name in names:
        missing = [package for package in PACKAGES.get(name, ()) if find_spec(package) is None]
        if missing:
            raise UserError(f'format={name} needs {" and ".join(missing)}: pip install "distill[export]"')
    return names


def folder_of(options: Options, run: Path) -> Path:
    """Where the export of the run in a folder goes.

    Raises:
        UserError: it exists and may not be replaced, is no export, lies below a file, or is the current folder.
    """
    folder = Path(options.output) if options.output else run / "export"
    below_folders(folder)
    if folder.resolve() == Path.cwd():
        raise UserError(f"output={folder} is the current folder, which cannot be replaced as a whole: name another")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not options.overwrite:
        raise UserError(f"{folder} exists: choose another output=, or overwrite=true")
    if not (folder / "export.json").is_file():
        raise UserError(f"{folder} is no earlier export (it has no export.json): it is not overwritten")
    return folder


def main(options: Options) -> int:
    """Checks, exports, reports; the folder appears whole or not at all."""
    names = check(options)
    record = Record(options.run)
    _ = record.tested
    if options.against:
        record.check_beside(Record(options.against))
    folder = folder_of(options, record.folder)
    from distill.export.pipeline import export
    from distill.export.table import show

    place = folder.resolve()
    part = place.with_name(place.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        report = export(options, names, part)
        if place.exists():
            shutil.rmtree(place)
        part.rename(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    show(report, folder)
    return 0
