"""Texts in a user's files, each with its place, and what is no text with the reason."""

import io
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distill.data.sources.text_files import READERS
from distill.data.sources.text_files.folder import text_of
from distill.data.sources.text_files.lines import codec, lines, outside_training
from distill.data.sources.text_files.plain import conll, text_lines
from distill.data.sources.text_files.rows import Choices, NoRowsError, Rows
from distill.data.text.preprocess import TextPreprocess
from distill.data.text.problems import problem
from distill.utils.errors import UserError, nearest_files, one_line
from distill.utils.files import list_files, printable

log = logging.getLogger(__name__)

STDIN = "stdin"
FOLDER = ".txt"


@dataclass(frozen=True)
class TextSample:
    """One text.

    Attributes:
        file: its path, or "stdin".
        line: its line, of parquet its row, from 1; None: it is the whole file, or this is about the file.
        text: a text, a pair of texts, or a list of words.
        error: why there is none.
    """

    file: str
    line: int | None
    text: Any = None
    error: str | None = None


@dataclass(frozen=True)
class TextFile:
    """Texts of one file: how many there are, and each of them."""

    count: int
    samples: Callable[[], Iterable[TextSample]]

    def __len__(self) -> int:
        return self.count


def read_texts(
    arguments: Sequence[str],
    stdin: Iterable[bytes],
    preprocess: TextPreprocess,
    given: Choices,
    trained: Choices,
    stdin_encoding: str = "utf-8",
) -> list[TextFile]:
    """The texts of all files that the arguments name.

    Args:
        arguments: files, folders (of which each .txt file is one text), "-".
        stdin: a text per line, where "-" is given.
        preprocess: of the run: whether its texts are pairs, or words.
        given: the columns that the user names.
        trained: those that were named in training, of use where a file has them.
        stdin_encoding: of ``stdin``; that of files is ``given.encoding``.

    Raises:
        UserError: there is nothing that can be read.
    """
    if not arguments:
        raise UserError("no texts given: name files, folders, or - for stdin")
    found: list[TextFile] = []
    failed: list[UserError] = []
    for name in arguments:
        path = Path(name)
        try:
            if name == "-":
                found.append(_of_lines(STDIN, _decoded(stdin, stdin_encoding), preprocess))
            elif path.is_dir():
                found.append(_of_folder(path, preprocess, given.encoding))
            else:
                found.append(_of_file(path, preprocess, given, trained))
        except UserError as error:
            failed.append(UserError(outside_training(str(error))))
            found.append(_listed([TextSample(name, None, error=str(failed[-1]))]))
    if len(failed) == len(arguments):
        raise failed[0]
    return found


def _listed(samples: list[TextSample]) -> TextFile:
    return TextFile(len(samples), lambda: samples)


def _decoded(stdin: Iterable[bytes], encoding: str) -> Iterator[str]:
    try:
        return io.StringIO(b"".join(stdin).decode(codec(encoding), "surrogateescape"), newline="\n")
    except UnicodeError as error:
        raise UserError(f"{STDIN} cannot be read: {one_line(error)}") from error


def _of_lines(name: str, texts: Iterable[str], preprocess: TextPreprocess) -> TextFile:
    """A text per line; of pairs with a tab between the two."""
    return _listed([_sample(name, n, line.rstrip("\r\n"), preprocess) for n, line in enumerate(texts, 1)])


def _sample(file: str, line: int | None, text: str, preprocess: TextPreprocess) -> TextSample:
    """A text as the run takes it, or why it is none."""
    parts = text.split("\t") if preprocess.pairs else [text]
    if preprocess.pairs and len(parts) != 2 and text.strip():
        return TextSample(file, line, error="a pair is two texts with a tab between")
    wrong = next(filter(None, map(problem, parts)), None)
    if wrong is not None:
        return TextSample(file, line, error=outside_training(wrong))
    return TextSample(file, line, tuple(parts) if preprocess.pairs else text.split() if preprocess.words else text)


def _of_folder(folder: Path, preprocess: TextPreprocess, encoding: str) -> TextFile:
    counted: Counter[str] = Counter()
    paths = sorted(folder / file.name for file in list_files(folder, {FOLDER}, counted))
    others = ", ".join(f"{counted[suffix]} {suffix}" for suffix in READERS if counted[suffix])
    if not paths:
        instead = f", but {others}: name these files themselves" if others else ""
        raise UserError(f"{printable(folder)}: no .txt files in this folder{instead}")
    if others:
        log.warning(
            "%s: passed over, as they are no .txt files: %s; name such files themselves", printable(folder), others
        )

    def samples() -> Iterator[TextSample]:
        for path in paths:
            text = text_of(path, encoding)
            if isinstance(text, OSError):
                yield TextSample(str(path), None, error=outside_training(str(text)))
            else:
                yield _sample(str(path), None, text, preprocess)

    return TextFile(len(paths), samples)


def _of_file(path: Path, preprocess: TextPreprocess, given: Choices, trained: Choices) -> TextFile:
    if not path.exists():
        raise UserError(f"{printable(path)} does not exist{nearest_files(path)}")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UserError(f"{printable(path)}: a file of texts ends in {', '.join(READERS)}")
    if reader is text_lines:
        return _of_lines(str(path), lines(path, given.encoding), preprocess)
    if reader is conll:
        if not preprocess.words:
            raise UserError(f"{printable(path)} holds words, and the run is of texts")
        return _of_words(path, given.encoding)
    attempts = [given, given] if given.text is not None else [trained, given]
    errors: list[UserError] = []
    for choices in attempts:
        for targets in ("tokens", "none") if preprocess.words else ("none",):
            try:
                return _of_rows(path, reader, replace(choices, targets=targets), preprocess)
            except UserError as error:
                errors.append(error)
    raise UserError(str(errors[-1]).replace("data.text", "text"))


def _of_words(path: Path, encoding: str) -> TextFile:
    """Sentences of words, one in the first column of each line, with a blank line between, as of CoNLL."""
    found: list[TextSample] = []
    words: list[str] = []
    start, wrong = 0, None
    for number, line in enumerate([*lines(path, encoding), "\n"], 1):
        if line.strip() and not line.startswith("-DOCSTART-"):
            word = (line.split("\t") if "\t" in line else re.split(" +", line.strip(" ")))[0].rstrip("\r\n")
            start, wrong = start or number, wrong or problem(word, f"word {len(words) + 1}")
            words.append(word)
        elif words:
            found.append(TextSample(str(path), start, None if wrong else words, wrong and outside_training(wrong)))
            words, start, wrong = [], 0, None
    if not found:
        raise UserError(f"{printable(path)} holds no words")
    return _listed(found)


def _of_rows(path: Path, reader: Callable[..., Rows], choices: Choices, preprocess: TextPreprocess) -> TextFile:
    """The texts of a file with columns."""
    broken: dict[int, str] = {}
    try:
        rows = reader(path, replace(choices, told=broken.__setitem__), False)
    except NoRowsError:
        if not broken or choices.targets == "tokens":
            raise
        return _listed(
            [TextSample(str(path), line, error=outside_training(wrong)) for line, wrong in sorted(broken.items())]
        )
    width = 2 if preprocess.pairs else 1
    if len(rows.texts) != width:
        raise UserError(
            f"{printable(path)} has {'pairs of texts' if width == 1 else 'one text in each row'}, and the run is of "
            f"{'single texts: set text=<column>' if width == 1 else 'pairs: set text=<column> text_pair=<column>'}"
        )

    def samples() -> Iterator[TextSample]:
        waiting = sorted(broken.items(), reverse=True)
        texts = [(text.as_py() for chunk in array.chunks for text in chunk) for array in rows.texts]
        for number, *parts in zip(rows.places.number.tolist(), *texts, strict=True):
            while waiting and waiting[-1][0] < number:
                line, wrong = waiting.pop()
                yield TextSample(str(path), line, error=outside_training(wrong))
            text = tuple(parts) if preprocess.pairs else parts[0]
            yield TextSample(str(path), number, text.split() if preprocess.words and isinstance(text, str) else text)
        for line, wrong in reversed(waiting):
            yield TextSample(str(path), line, error=outside_training(wrong))

    return TextFile(len(rows) + len(broken), samples)
