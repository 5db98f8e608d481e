"""``python predict.py``: classifies images."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from distill.cli.commands import launch
from distill.config.options import arg
from distill.evaluation.predict import CSVWriter, JSONWriter, Prediction, list_images, predict_files
from distill.evaluation.run_folder import RunFolder
from distill.utils.atomic import atomic_path
from distill.utils.errors import UserError, nearest
from distill.utils.invocation import invocation
from distill.utils.output_files import cannot_write, check_file_path

log = logging.getLogger(__name__)

ABOUT = """Classifies images with the student of a finished run.

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
    for key, allowed in (("format", FORMATS), ("device", DEVICES)):
        if getattr(options, key) not in allowed:
            raise UserError(f"{key}={getattr(options, key)} is unknown; {nearest(getattr(options, key), allowed)}")
    for key in ("top", "batch_size", "threads"):
        value = getattr(options, key)
        if value is not None and value < 1:
            raise UserError(f"{key} must be at least 1, got {value}")
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


def predict(options: Options) -> int:
    """Classifies all files; the exit status is 3 where some could not be read, else 0."""
    check(options)
    classes = RunFolder(options.run).classes
    if options.top > len(classes):
        raise UserError(f"top={options.top}: the model knows {len(classes)} classes")
    files = list_images(options.images, map(os.fsdecode, sys.stdin.buffer))  # names of any bytes, as in arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=NAMES)
    import distill
    from distill.utils.cpu import usable_cores

    predictor = distill.load(options.run)
    predictor.to(_device(options.device))
    failed = 0
    with ExitStack() as stack:
        file = stack.enter_context(_opened(Path(options.output))) if options.output else sys.stdout
        writer = CSVWriter(file, options.top) if options.format == "csv" else JSONWriter(file)
        predictions = predict_files(
            predictor, files, options.top, options.batch_size, options.threads or usable_cores()
        )
        for prediction in _with_bar(predictions, len(files), stack):
            writer.write(prediction)
            if prediction.error:
                failed += 1
                log.warning(f"{prediction.file}: {prediction.error}")
        writer.close()
    if failed:
        print(f"{failed} of {len(files)} files could not be read", file=sys.stderr, flush=True)
    return SOME_FAILED if failed else 0


@contextmanager
def _opened(output: Path) -> Iterator[IO[str]]:
    """Opens a text file for writing, atomically; its folder is created."""
    try:
        with atomic_path(output) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=NAMES) as file:
            yield file
    except OSError as error:
        raise cannot_write(output, error) from error


def _with_bar(predictions: Iterator[Prediction], total: int, stack: ExitStack) -> Iterator[Prediction]:
    """The predictions, with a progress bar where there are many and stderr is a terminal."""
    if total < MANY or not sys.stderr.isatty():
        return predictions
    from rich.console import Console
    from rich.progress import Progress

    bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
    return iter(bar.track(predictions, total=total, description="images"))


def main() -> None:
    """Runs the command."""
    launch(Options, predict, ABOUT, invocation("predict"), rest="images")
