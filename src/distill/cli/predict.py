"""``python predict.py``: predictions for image files."""

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from distill.cli.commands import launch
from distill.config import own_code, trust
from distill.config.options import arg
from distill.evaluation.predict import (
    CSVWriter,
    JSONWriter,
    Prediction,
    ValuesCSVWriter,
    list_images,
    predict_files,
)
from distill.evaluation.run_folder import RunFolder
from distill.utils.atomic import atomic_path
from distill.utils.errors import UserError, check_choice, check_range, nearest
from distill.utils.output_files import check_file_path
from distill.utils.processes import usable_cores

log = logging.getLogger(__name__)

ABOUT = """Classifies images with the student of a finished run, or predicts what else its task is.

  {command} run=outputs/2026-01-31/12-00-00 images/*.jpg
  find photos -name '*.jpg' | {command} run=outputs/2026-01-31/12-00-00 - format=json output=found.json

Images are files, folders (searched with their subfolders), or - for a list on stdin, a path a line. A file that
cannot be read is reported on stderr and in the output; the exit status is then 3, and 0 where all were read."""

FORMATS = ("csv", "json")
SOME_FAILED = 3
MANY = 1000
DEVICES = ("auto", "cpu", "cuda")
NAMES = "surrogateescape"  # file names that are not valid UTF-8 are written with their original bytes


@dataclass
class Options:
    """The keys of ``predict.py``."""

    run: str = arg("a finished run's folder, or a weights file in it")
    images: list[str] = arg("files, folders, or - for a list on stdin; may be given without the key", [])
    format: str = arg("csv or json", "csv")
    output: str | None = arg("file to write; null: stdout", None)
    trust: Any = arg(trust.HELP, None)
    code: str | None = arg(own_code.HELP, None)
    overwrite: bool = arg("replace that file where it exists", False)
    top: int = arg("classes named per image", 1)
    batch_size: int = arg("images per forward", 64)
    threads: int | None = arg("threads that decode images; null: one per core", None)
    device: str = arg("cpu, cuda, or auto: whichever is there", "auto")


def check(options: Options) -> None:
    """Checks the keys without importing torch.

    Raises:
        UserError: a value that is not allowed.
    """
    check_choice("format", options.format, FORMATS)
    check_choice("device", options.device, DEVICES)
    for key in ("top", "batch_size", "threads"):
        check_range(key, getattr(options, key), 1)
    if options.output:
        check_file_path(Path(options.output))
        if Path(options.output).exists() and not options.overwrite:
            raise UserError(f"{options.output} exists: choose another output=, or overwrite=true")


def _device(name: str) -> str:
    import torch

    available = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if name == "auto":
        return available[-1]
    if name not in available:
        raise UserError(f"device={name} is not there; {nearest(name, ['auto', *available])}")
    return name


@contextmanager
def _opened(output: Path) -> Iterator[IO[str]]:
    """Opens a text file for writing, atomically; its folder is created."""
    with atomic_path(output) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
        yield file


def _writer(options: Options, file: IO[str], predictor: Any) -> CSVWriter | ValuesCSVWriter | JSONWriter:
    if options.format == "json":
        return JSONWriter(file)
    if predictor.task.has_classes:
        return CSVWriter(file, options.top)
    labels = ["labels"] if predictor.task.targets == "multilabel" else []
    return ValuesCSVWriter(file, [*labels, *predictor.classes])


def predict(options: Options) -> int:
    """Predicts for all files; the exit status is 3 where some could not be read, else 0."""
    check(options)
    folder = RunFolder(options.run)
    classes, task = folder.classes, folder.summary.task
    if not task.has_classes and options.top != 1:
        raise UserError(f"top={options.top} is for classes, and the run's task is {task.name}")
    if folder.summary.data.targets == "none" and options.format == "csv":
        raise UserError("format=csv has a column per value, and the run's model gives embeddings: set format=json")
    if task.has_classes and options.top > len(classes):
        raise UserError(f"top={options.top}: the model knows {len(classes)} classes")
    files = list_images(options.images, map(os.fsdecode, sys.stdin.buffer))  # names of any bytes, as in arguments
    from rich.console import Console
    from rich.progress import track

    import distill

    predictor = distill.load(options.run, options.trust, options.code)
    predictor.to(_device(options.device))
    failed = 0
    with _opened(Path(options.output)) if options.output else nullcontext(sys.stdout) as file:
        writer = _writer(options, file, predictor)
        threads = options.threads or usable_cores()
        predictions: Iterable[Prediction] = predict_files(predictor, files, options.top, options.batch_size, threads)
        if len(files) >= MANY and sys.stderr.isatty():
            predictions = track(predictions, "images", len(files), console=Console(stderr=True), transient=True)
        for prediction in predictions:
            writer.write(prediction)
            if prediction.error:
                failed += 1
                log.warning(f"{prediction.file}: {prediction.error}")
        writer.close()
    if failed:
        print(f"{failed} of {len(files)} files could not be read", file=sys.stderr, flush=True)
    return SOME_FAILED if failed else 0


main = partial(launch, Options, predict, ABOUT, rest="images")
