"""A folder of .txt files per class."""

import logging
from functools import partial
from pathlib import Path

import torch

from distill.data.sources.class_files import FileKind, FolderFiles, labelled_files, unlabelled_files
from distill.data.sources.text_files.lines import codec, encoding_problem
from distill.data.sources.text_files.rows import Choices, arrow, as_array
from distill.data.splits import Splits
from distill.data.targets import UNLABELLED
from distill.data.text.dataset import BLOCK, Places, TextSet
from distill.data.text.problems import problem
from distill.utils.errors import UserError, one_line
from distill.utils.files import list_files, open_file, printable
from distill.utils.processes import map_in_threads

log = logging.getLogger(__name__)

SUFFIXES = {".txt"}
DOCUMENTS = {".txt", ".md", ".rst"}  # of a language model, a document each
TABLES = {".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".tab", ".parquet"}


def text_folder(root: Path, choices: Choices) -> Splits:
    """The .txt files of a folder, each one text, below folders that are their classes, as in ``image_folder``.

    For a language model, which has no classes, also its .md and .rst files.

    Raises:
        UserError: a task that needs other labels, folders that are no classes, or a file that is no text.
    """
    suffixes = DOCUMENTS if choices.targets == "next_token" else SUFFIXES
    kind = FileKind(suffixes, "texts", "they are no .txt files")
    if choices.targets in (*UNLABELLED, "classes") and next(list_files(root, suffixes), None) is None:
        names = sorted(path.name for path in root.iterdir() if path.suffix.lower() in TABLES and path.is_file())
        instead = f"; it holds {printable(names[0])}: name that file, or call it train" if names else ""
        raise UserError(
            f"{printable(root.absolute())} holds no texts: neither train.jsonl, train.csv, train.tsv or train.parquet "
            f"nor .txt files{' in a folder per class' * (choices.targets == 'classes')}{instead}"
        )
    if choices.targets in UNLABELLED:
        splits, classes = unlabelled_files(root, kind), None
    elif choices.targets == "classes":
        splits, classes = labelled_files(root, kind)
    else:
        where = printable(root.absolute())
        raise UserError(
            f"{where} holds no train.jsonl, train.csv, train.tsv, train.parquet"
            f"{' or train.conll' * (choices.targets == 'tokens')}: a folder per class is for task=classification"
        )
    return Splits(**{name: _read(files, choices) for name, files in splits.items()}, classes=classes)


def _read(files: FolderFiles, choices: Choices) -> TextSet:
    arrays, good, broken = [], [], []
    for start in range(0, len(files.names), BLOCK):
        paths = [files.folder / name for name in files.names[start : start + BLOCK]]
        texts = []
        for row, (path, text) in enumerate(
            zip(paths, map_in_threads(partial(text_of, encoding=choices.encoding), paths), strict=True), start
        ):
            wrong = str(text) if isinstance(text, OSError) else problem(text)
            if wrong is None:
                texts.append(text)
                good.append(row)
                continue
            broken.append(f"{printable(path)}: {wrong}")
            if choices.on_broken == "error":
                raise UserError(f"{broken[0]}; data.on_broken=skip leaves such files out")
        arrays.append(arrow(texts, choices.targets))
    if broken:
        log.warning("%s: %d broken files left out (%s)", printable(files.folder), len(broken), broken[0])
    places = Places.of_files([files.folder / files.names[row] for row in good])
    return TextSet(as_array(arrays), places, labels=torch.tensor(files.labels)[good])


def text_of(path: Path, encoding: str) -> str | OSError:
    """The text of a file, what is none of the encoding as ``surrogateescape`` leaves it; or why there is none."""
    try:
        with open_file(path) as file:
            content = file.read()
        wrong = encoding_problem(content[:8192], encoding)
        return OSError(f"it {wrong}") if wrong is not None else content.decode(codec(encoding), "surrogateescape")
    except (OSError, UnicodeError) as error:
        return OSError(f"it cannot be read: {one_line(error)}")
