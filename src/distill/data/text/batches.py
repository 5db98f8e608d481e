"""A split of tokenised texts, as whole batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from distill.data.loader import Batch
from distill.data.sampler import Key
from distill.data.splits import Split
from distill.data.text.dataset import TextSet
from distill.data.text.encoded import Encoded
from distill.data.text.tokenize import TextTokenizer


@dataclass(frozen=True)
class Side:
    """How one of the models reads the texts."""

    tokenizer: TextTokenizer
    max_length: int


@dataclass(frozen=True)
class EncodedSplit(Split[TextSet]):
    """The rows of a split with their tokens; ``teacher``: those of another tokenizer, or None."""

    encoded: Encoded
    teacher: Encoded | None = None


class TextBatches:
    """Batches of a split.

    Args:
        split: its tokens.
        student: how the student reads them.
        teacher: how the teacher does; None: as the student.
    """

    def __init__(self, split: EncodedSplit, student: Side, teacher: Side | None) -> None:
        self._rows, self._encoded, self._teacher_encoded = split.rows, split.encoded, split.teacher
        self._labels = split.dataset.labels[split.rows]
        self._sides = tuple(
            None if side is None else (side.tokenizer.pad_id, side.tokenizer.with_types, side.max_length)
            for side in (student, teacher)
        )  # no tokenizer: a loader's workers pickle this

    @property
    def device(self) -> torch.device:
        """The CPU: token ids are few bytes."""
        return torch.device("cpu")

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, int64 (N,)."""
        return self._encoded.lengths

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Key) -> Batch:
        _, at = key
        student, teacher = self._sides
        assert student is not None
        inputs = self._encoded.batch(at, *student)
        has_tags = self._encoded.labels is not None
        target = self._encoded.label_batch(at, student[2]) if has_tags else self._labels[at]
        teacher_inputs = None
        if teacher is not None:
            teacher_inputs = (self._teacher_encoded or self._encoded).batch(at, *teacher)
        return Batch(inputs, target, self._rows[at], teacher_inputs)
