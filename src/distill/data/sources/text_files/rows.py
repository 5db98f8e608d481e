"""Rows of a text file: which columns are read, what is no text, and the arrays that hold the rest."""

import codecs
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from distill.data.column_names import TEXT_PAIRS, chosen_column, usual_columns
from distill.data.sources.columns import find_column, find_labels
from distill.data.targets import UNLABELLED
from distill.data.text.dataset import BLOCK, Places
from distill.data.text.messages import as_line, messages_problem
from distill.data.text.problems import label_problem, problem, words_problem
from distill.utils.errors import UserError
from distill.utils.files import printable

log = logging.getLogger(__name__)

OnBroken = Literal["error", "skip"]


@dataclass(frozen=True)
class Choices:
    """What the user chose, see ``texts``."""

    text: str | None = None
    text_pair: str | None = None
    label: Any = None
    split_column: str | None = None
    columns: Sequence[str] | None = None
    encoding: str = "utf-8"
    on_broken: OnBroken = "error"
    targets: Any = "classes"  # Targets, or "tokens"
    told: Callable[[int, str], object] | None = None  # is called for what cannot be read, which is left out

    def __post_init__(self) -> None:
        if self.on_broken not in get_args(OnBroken):
            raise UserError(f"data.on_broken must be error or skip, got {self.on_broken!r}")
        try:
            codecs.lookup(self.encoding)
        except (LookupError, TypeError) as error:
            names = "utf-8, utf-16, latin-1, cp1252, … (those of Python)"
            raise UserError(f"data.source.encoding={self.encoding} is unknown; allowed: {names}") from error
        if isinstance(self.columns, str) or not all(isinstance(name, str | int | float) for name in self.columns or ()):
            raise UserError(f"data.source.columns must be a list of names, got {self.columns!r}")
        if self.text_pair is not None and self.text is None:
            raise UserError(f"data.text_pair={self.text_pair} names the second text of a pair: set data.text= too")
        if self.targets == "tokens" and self.text_pair is not None:
            raise UserError("data.text_pair is for pairs of texts, and task=tokens reads sentences of words")

    @property
    def label_may_be_empty(self) -> bool:
        """Whether an empty text as a label names none: of a column of names that has several, or none, in a row."""
        return self.targets == "multilabel" and (self.label is None or isinstance(self.label, str))


@dataclass(frozen=True)
class Columns:
    """The columns of a file that are read; ``labels`` may be empty, ``split`` None; ``chat``: of conversations."""

    texts: list[str]
    labels: list[str]
    split: str | None = None
    chat: bool = False


@dataclass(frozen=True)
class Rows:
    """What was read of a file.

    Attributes:
        texts: one or two pyarrow ChunkedArrays, of strings or (targets "tokens") of lists of words.
        labels: the values of each label column; empty where the file has none.
        names: what whole numbers among them stand for.
        splits: of each row the split that its column names; None: there is no such column.
        places: where the rows stand.
        chat: the texts are conversations, see ``TextSet``.
    """

    texts: list[Any]
    labels: Mapping[str, Sequence[Any]]
    places: Places
    names: Sequence[str] | None = None
    splits: Sequence[Any] | None = None
    chat: bool = False

    def __len__(self) -> int:
        return len(self.texts[0])

    def take(self, rows: Any) -> "Rows":
        """Some of the rows (whole numbers), without the column of splits."""
        labels = {name: [values[row] for row in rows] for name, values in self.labels.items()}
        texts = [text.take(rows) for text in self.texts]
        return Rows(texts, labels, self.places.take(rows), self.names, chat=self.chat)


def find_columns(
    names: Sequence[str], choices: Choices, where: str, labels: Sequence[str] = (), needs_labels: bool = True
) -> Columns:
    """Which columns hold the texts, the labels and the split.

    Args:
        names: of all columns.
        choices: the user's.
        where: the file, for errors.
        labels: columns that hold labels by their type.
        needs_labels: else a file without them has none.

    Raises:
        UserError: for a column that is not there, or cannot be found.
    """
    conversations = usual_columns(names, "messages")[:1] if choices.targets == "next_token" else []
    chat = bool(conversations) and choices.text in (None, *conversations)
    if chat:
        texts = conversations
    elif choices.text is None and choices.targets not in ("tokens", "next_token"):
        pair = next((pair for pair in TEXT_PAIRS if {*pair} <= {name.lower() for name in names}), None)
        texts = [next(name for name in names if name.lower() == each) for each in pair or ()]
    else:
        texts = []
    if not texts:
        if choices.targets == "tokens" and choices.text is None and not usual_columns(names, "words"):
            raise UserError(
                f"{where}: no column could be taken for the words: task=tokens reads a list of words and a list of "
                f"tags in each row; its columns are {', '.join(names)} (data.text=, data.label=)"
            )
        texts = [find_column(names, "words" if choices.targets == "tokens" else "text", choices.text, [], where)]
        if choices.text_pair is not None:
            texts.append(find_column(names, "text_pair", choices.text_pair, [], where))
    split = None if choices.split_column is None else chosen_column(choices.split_column, names)
    if choices.split_column is not None and split is None:
        raise UserError(f"{where}: there is no column {choices.split_column!r} of splits (data.source.split_column)")
    split = split or next((name for name in names if name.lower() == "split"), None)
    role: Any = "tags" if choices.targets == "tokens" else "text_label"
    if choices.targets in UNLABELLED or not (
        needs_labels or usual_columns(names, role) or chosen_column(choices.label, names)
    ):
        return Columns(texts, [], split, chat)
    others = [name for name in names if name not in (*texts, split)]
    if choices.label is None and not others:
        raise UserError(f"{where} has no labels, nothing but {', '.join(names)}: add a column, or set task=embedding")
    if choices.targets == "tokens":
        return Columns(texts, [find_column(others, "tags", choices.label, [], where)], split)
    return Columns(texts, find_labels(others, choices.label, labels, where, choices.targets, role), split)


class NoRowsError(UserError):
    """A file without a line of data, or whose lines are all broken."""


@dataclass
class Collector:
    """Takes the rows of a file one by one; those that are broken raise an error, or are counted and left out."""

    path: Path
    choices: Choices
    columns: Columns | None = None
    _texts: list[list[Any]] = field(default_factory=list)
    _arrays: list[list[Any]] = field(default_factory=list)
    _labels: dict[str, list[Any]] = field(default_factory=dict)
    _splits: list[Any] = field(default_factory=list)
    _numbers: list[int] = field(default_factory=list)
    _known: dict[Any, Any] = field(default_factory=dict)  # each label once
    _broken: list[str] = field(default_factory=list)

    def open(self, columns: Columns) -> None:
        """Say which columns are read."""
        self.columns = columns
        self._texts, self._arrays = [[] for _ in columns.texts], [[] for _ in columns.texts]
        self._labels = {name: [] for name in columns.labels}

    def broken(self, number: int, what: str) -> None:
        """The line with this number cannot be read."""
        if self.choices.told is not None:
            self.choices.told(number, what)
            return
        message = f"line {number} of {printable(self.path.name)}: {what}"
        if self.choices.on_broken == "error":
            raise UserError(f"{message}; data.on_broken=skip leaves such lines out")
        self._broken.append(message)

    def add(self, number: int, cells: Mapping[str, Any]) -> None:
        """The line with this number has these values."""
        assert self.columns is not None
        what = self._problem(self.columns, cells)
        if what is not None:
            self.broken(number, what)
            return
        texts = [as_line(cells[name]) if self.columns.chat else cells[name] for name in self.columns.texts]
        labels = [cells[name] for name in self.columns.labels]
        for buffer, value in zip(self._texts, texts, strict=True):
            buffer.append(value)
        for values, label in zip(self._labels.values(), labels, strict=True):
            values.append(self._once(label))
        if self.columns.split is not None:
            self._splits.append(self._once(cells.get(self.columns.split)))
        self._numbers.append(number)
        if len(self._texts[0]) == BLOCK:
            self._flush()

    def _problem(self, columns: Columns, cells: Mapping[str, Any]) -> str | None:
        """What is wrong with a line; None: nothing."""
        for name in (*columns.texts, *columns.labels):
            if name not in cells:
                return f"it has no {name}"
        if self.choices.targets == "tokens":
            return words_problem(cells[columns.texts[0]], [cells[name] for name in columns.labels], columns.texts[0])
        for name in columns.texts:
            if (wrong := (messages_problem if columns.chat else problem)(cells[name], name)) is not None:
                return wrong
        for name in columns.labels:
            if (wrong := label_problem(cells[name], name, self.choices.label_may_be_empty)) is not None:
                return wrong
        return None

    def finish(self) -> Rows:
        """All rows.

        Raises:
            NoRowsError: there are none.
        """
        name = printable(self.path.name)
        if self._broken:
            first = f"{len(self._broken)} broken line{'s' * (len(self._broken) > 1)} left out ({self._broken[0]})"
            log.warning("%s: %s", name, first)
        if self.columns is None or not self._numbers:
            raise NoRowsError(f"{name} holds no line of data{': all are broken' if self._broken else ''}")
        self._flush()
        splits = None if self.columns.split is None else self._splits
        places = Places.of_rows(self.path, self._numbers)
        texts = [as_array(arrays) for arrays in self._arrays]
        return Rows(texts, self._labels, places, splits=splits, chat=self.columns.chat)

    def _once(self, label: Any) -> Any:
        if isinstance(label, list):
            return [self._once(each) for each in label]
        return self._known.setdefault(label, label) if isinstance(label, str) else label

    def _flush(self) -> None:
        for buffer, arrays in zip(self._texts, self._arrays, strict=True):
            if buffer:
                arrays.append(arrow(buffer, self.choices.targets))
                buffer.clear()


def arrow(texts: Sequence[Any], targets: Any) -> Any:
    """Texts as a pyarrow array of strings; of targets "tokens" words as one of lists of strings."""
    import pyarrow as pa

    return pa.array(texts, pa.large_list(pa.large_string()) if targets == "tokens" else pa.large_string())


def as_array(arrays: Sequence[Any]) -> Any:
    """Several arrays as one ChunkedArray."""
    import pyarrow as pa

    return pa.chunked_array(list(arrays))
