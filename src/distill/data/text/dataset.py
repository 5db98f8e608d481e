"""Texts and their labels, kept as arrow arrays, and where each stands in the user's files."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from distill.utils.files import printable

BLOCK = 8192  # rows that are Python objects at a time


@dataclass(frozen=True)
class Places:
    """Where the rows of a set stand.

    Args:
        files: their paths, or names of what is no file.
        file: the number of each row's file, int32 (N,).
        number: of the row in its file, from 1, int64 (N,); 0: the row is the whole file.
        unit: what is counted; of "line" the place can be opened in an editor.
    """

    files: Sequence[Path | str]
    file: np.ndarray[Any, Any]
    number: np.ndarray[Any, Any]
    unit: Literal["line", "row"] = "line"

    @classmethod
    def of_rows(cls, file: Path | str, numbers: Any, unit: Literal["line", "row"] = "line") -> "Places":
        """The places of the rows of one file, by their numbers."""
        number = np.asarray(numbers, dtype=np.int64)
        return cls([file], np.zeros(len(number), np.int32), number, unit)

    @classmethod
    def of_files(cls, files: Sequence[Path]) -> "Places":
        """A file for each row."""
        return cls(files, np.arange(len(files), dtype=np.int32), np.zeros(len(files), np.int64))

    @staticmethod
    def joined(parts: "Sequence[Places]") -> "Places":
        """The places of several sets behind each other."""
        starts = np.cumsum([0, *(len(part.files) for part in parts)])
        file = np.concatenate([part.file + np.int32(start) for part, start in zip(parts, starts, strict=False)])
        number = np.concatenate([part.number for part in parts])
        return Places([each for part in parts for each in part.files], file, number, parts[0].unit)

    def take(self, rows: Any) -> "Places":
        """The places of some of the rows."""
        return Places(self.files, self.file[rows], self.number[rows], self.unit)

    def name(self, row: int) -> str:
        """``"line 7 of train.jsonl"``, or the path of a file that is one row."""
        file, number = self.files[self.file[row]], int(self.number[row])
        if number:
            return f"{self.unit} {number} of {printable(file.name) if isinstance(file, Path) else file}"
        return printable(file)

    def file_line(self, row: int) -> str | None:
        """``"texts/train.jsonl:7"``, or the path of a file that is one row; None of what has no lines."""
        file, number = self.files[self.file[row]], int(self.number[row])
        if not isinstance(file, Path) or self.unit != "line":
            return None
        return f"{printable(file)}:{number}" if number else printable(file)


class TextSet:
    """Texts, pairs of texts, or sentences of words, with their labels.

    Args:
        texts: a pyarrow ChunkedArray of N strings (large_string); with ``tags`` of lists of words (large_list).
        places: where the rows stand.
        pairs: the second texts likewise; None: each row is one text.
        labels: as of ``LabelledDataset``; None: zeros, int64 (N,).
        tags: class numbers of all words of all rows, int64 (words,).
        classes: what the class numbers stand for; None: the source says so.
        chat: the texts are conversations, JSON lists of messages with ``role`` and ``content``.
    """

    def __init__(
        self,
        texts: Any,
        places: Places,
        pairs: Any = None,
        labels: Tensor | None = None,
        tags: Tensor | None = None,
        classes: Sequence[str] | None = None,
        chat: bool = False,
    ) -> None:
        self.texts = texts
        self.pairs = pairs
        self.places = places
        self.labels = torch.zeros(len(texts), dtype=torch.int64) if labels is None else labels
        self.tags = tags
        self.classes = classes
        self.chat = chat
        self._first_words: Tensor | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def name(self, row: int) -> str:
        """The row's line and file."""
        return self.places.name(row)

    @property
    def first_words(self) -> Tensor:
        """Where the words of each row begin among those of all, and their number: int64 (N + 1,)."""
        if self._first_words is None:
            from pyarrow import compute

            lengths = compute.list_value_length(self.texts).to_numpy().astype(np.int64)
            self._first_words = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
        return self._first_words

    def text(self, row: int) -> str | tuple[str, str]:
        """The text of a row, its two texts, or its words with blanks between them."""
        text = self.texts[row].as_py()
        if self.pairs is not None:
            return text, self.pairs[row].as_py()
        return text if self.tags is None else " ".join(text)

    def blocks(self, rows: Tensor) -> Iterator[list[Any]]:
        """The texts of some rows in lists of at most ``BLOCK``: strings, pairs of strings, or lists of words."""
        for at in torch.split(rows, BLOCK):
            texts = self.texts.take(at.numpy()).to_pylist()
            if self.pairs is not None:
                texts = list(zip(texts, self.pairs.take(at.numpy()).to_pylist(), strict=True))
            yield texts

    def identity(self, rows: Tensor) -> bytes:
        """A digest of the texts, and of the words' tags."""
        hasher = hashlib.sha256()
        for texts in self.blocks(rows):
            hasher.update(json.dumps(texts).encode())
        if self.tags is not None:
            first = self.first_words
            words = torch.cat([torch.arange(int(first[row]), int(first[row + 1])) for row in rows.tolist()])
            hasher.update(self.tags[words].numpy().tobytes())
        return hasher.digest()
