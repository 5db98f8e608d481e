"""``python predict.py``: predictions for images or texts."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from distill.cli.commands import launch
from distill.config import own_code, trust
from distill.config.options import arg
from distill.evaluation.predict.writers import CSVWriter, JSONWriter, Prediction
from distill.evaluation.run_folder import RunFolder
from distill.utils.atomic import atomic_path
from distill.utils.errors import UserError, check_choice, check_range, nearest
from distill.utils.output_files import check_file_path
from distill.utils.processes import usable_cores

log = logging.getLogger(__name__)

ABOUT = """Classifies images or texts with the student of a finished run, continues texts, or
predicts what else its task is.

  {command} run=outputs/2026-01-31/12-00-00 images/*.jpg
  find photos -name '*.jpg' | {command} run=outputs/2026-01-31/12-00-00 - format=json output=found.json
  {command} run=outputs/2026-01-31/12-00-00 mails.jsonl more.csv notes.txt

Images are files, folders (searched with their subfolders), or - for a list on stdin, a path a line. Texts are the lines
of .txt files and of - (stdin), the rows of .jsonl, .csv, .tsv and .parquet files, and each .txt file of a folder; of
pairs a line has a tab between the two. What cannot be read is reported on stderr and in the output; the exit status is
then 3, and 0 where all were read."""

FORMATS = ("csv", "json")
SOME_FAILED = 3
MANY = 1000
DEVICES = ("auto", "cpu", "cuda")
NAMES = "surrogateescape"  # file names that are not valid UTF-8 are written with their original bytes


@dataclass
class Options:
    """The keys of ``predict.py``."""

    run: str = arg("a finished run's folder, or a weights file in it")
    inputs: list[str] = arg("files, folders, or - for stdin; may be given without the key", [])
    format: str = arg("csv or json", "csv")
    output: str | None = arg("file to write; null: stdout", None)
    trust: Any = arg(trust.HELP, None)
    code: str | None = arg(own_code.HELP, None)
    overwrite: bool = arg("replace that file where it exists", False)
    text: str | None = arg("column of the texts; null: as in training, or found by its name", None)
    text_pair: str | None = arg("column of the second text of each pair; null: likewise", None)
    encoding: str | None = arg("of the texts; null: of files as in training, of stdin utf-8", None)
    masks: str | None = arg("of task=segmentation: folder for class maps as PNG; null: none are written", None)
    top: int = arg("classes named per sample", 1)
    batch_size: int = arg("samples per forward", 64)
    max_new_tokens: int = arg("of a language model: tokens written after each text, at most", 64)
    temperature: float = arg(
        "of a language model: 0 takes the likeliest token each time, above it tokens are drawn", 0.0
    )
    threads: int | None = arg("threads that decode images; null: one per core", None)
    device: str = arg("cpu, cuda, or auto: whichever is there", "auto")


def check(options: Options) -> None:
    """Checks the keys without importing torch.

    Raises:
        UserError: a value that is not allowed.
    """
    check_choice("format", options.format, FORMATS)
    check_choice("device", options.device, DEVICES)
    check_range("temperature", options.temperature, 0)
    for key in ("top", "batch_size", "max_new_tokens", "threads"):
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


def _writer(options: Options, file: IO[str], predictor: Any, sample: Sequence[str]) -> CSVWriter | JSONWriter:
    if options.format == "json":
        return JSONWriter(file)
    if predictor.task.has_classes:
        return CSVWriter.of_classes(file, sample, options.top)
    if predictor.task.targets == "next_token":
        return CSVWriter.of_continuations(file, sample)
    if predictor.task.targets == "tokens":
        return CSVWriter.of_tags(file, sample)
    labels = ["labels"] if predictor.task.targets == "multilabel" else []
    return CSVWriter.of_values(file, sample, [*labels, *predictor.classes])


def _images(options: Options) -> tuple[int, Callable[[Any], Iterator[Prediction]]]:
    """How many images there are, and what predicts for them."""
    from distill.evaluation.predict.images import list_images, predict_images

    files = list_images(options.inputs, map(os.fsdecode, sys.stdin.buffer))  # names of any bytes, as in arguments
    threads = options.threads or usable_cores()
    masks = Path(options.masks) if options.masks else None
    return len(files), lambda predictor: predict_images(
        predictor, files, options.top, options.batch_size, threads, masks
    )


def _texts(options: Options, folder: RunFolder) -> tuple[int, Callable[[Any], Iterator[Prediction]]]:
    """How many texts there are, and what predicts for them."""
    from distill.data.sources.text_files.lines import outside_training
    from distill.data.sources.text_files.rows import Choices
    from distill.data.text.preprocess import TextPreprocess
    from distill.evaluation.predict.text_files import read_texts
    from distill.evaluation.predict.texts import continue_texts, predict_texts

    data: dict[str, Any] = folder.config.get("data") or {}
    encoding = options.encoding or str((data.get("source") or {}).get("encoding") or "utf-8")
    try:
        trained = Choices(data.get("text"), data.get("text_pair"), encoding=encoding)
        given = Choices(options.text, options.text_pair, encoding=encoding)
    except UserError as error:
        raise UserError(outside_training(str(error))) from error
    preprocess = TextPreprocess.from_dict(folder.summary.data.preprocess)
    files = read_texts(options.inputs, sys.stdin.buffer, preprocess, given, trained, options.encoding or "utf-8")
    if preprocess.causal:
        written = (options.batch_size, options.max_new_tokens, options.temperature)
        return sum(map(len, files)), lambda predictor: continue_texts(predictor, files, *written)
    return sum(map(len, files)), lambda predictor: predict_texts(predictor, files, options.top, options.batch_size)


def predict(options: Options) -> int:
    """Predicts for all images or texts; the exit status is 3 where some could not be read, else 0."""
    check(options)
    folder = RunFolder(options.run)
    _check_run(options, folder)
    is_text = folder.of_texts
    count, predict_all = _texts(options, folder) if is_text else _images(options)
    from rich.console import Console
    from rich.progress import track

    import distill

    predictor = distill.load(options.run, options.trust, options.code)
    predictor.to(_device(options.device))
    sample = ["file", *(["line", "text"] if is_text else [])]
    sample += ["text_pair"] if is_text and predictor.preprocess.pairs else []
    failed = 0
    with _opened(Path(options.output)) if options.output else nullcontext(sys.stdout) as file:
        writer = _writer(options, file, predictor, sample)
        predictions: Iterable[Prediction] = predict_all(predictor)
        if count >= MANY and sys.stderr.isatty():
            what = "texts" if is_text else "images"
            predictions = track(predictions, what, count, console=Console(stderr=True), transient=True)
        for prediction in predictions:
            writer.write(prediction)
            if prediction.error:
                failed += 1
                log.warning(f"{prediction.place}: {prediction.error}")
        writer.close()
    if failed:
        what = "texts" if is_text else "files"
        print(f"{failed} of {count} {what} could not be read", file=sys.stderr, flush=True)
    return SOME_FAILED if failed else 0


def _check_run(options: Options, folder: RunFolder) -> None:
    """A ``UserError`` for keys that do not fit the run."""
    classes, task = folder.classes, folder.summary.task
    if not task.has_classes and options.top != 1:
        raise UserError(f"top={options.top} is for classes, and the run's task is {task.name}")
    if options.masks is not None and folder.summary.data.targets != "masks":
        raise UserError(f"masks={options.masks} is for class maps, and the run's task is {task.name}")
    if folder.summary.data.targets == "none" and options.format == "csv":
        raise UserError("format=csv has a column per value, and the run's model gives embeddings: set format=json")
    if task.has_classes and options.top > len(classes):
        raise UserError(f"top={options.top}: the model knows {len(classes)} classes")
    named = next((key for key in ("text", "text_pair", "encoding") if getattr(options, key) is not None), None)
    if named and not folder.of_texts:
        what = "is the encoding" if named == "encoding" else "names a column"
        raise UserError(f"{named}= {what} of texts, and the run is of images")
    if options.text_pair is not None and options.text is None:
        raise UserError(f"text_pair={options.text_pair} names the second text of a pair: set text= too")


main = partial(launch, Options, predict, ABOUT, rest="inputs")
