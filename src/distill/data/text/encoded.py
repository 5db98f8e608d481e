"""Token ids of many texts behind each other, and some of them as a padded batch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distill.data.targets import IGNORED

MULTIPLE = 8  # of a batch's length
_AT_A_TIME = 1_000_000


@dataclass(frozen=True)
class Encoded:
    """The tokens of N texts.

    Attributes:
        ids: of all tokens, int32 (tokens,).
        offsets: where each text begins, and the number of all tokens, int64 (N + 1,).
        types: which text of a pair, uint8 (tokens,); None: zeros.
        labels: of each token, int16 (tokens,), -100 of all but the first of a word; None: there are none.
        num_cut: how many of the texts were cut.
    """

    ids: Tensor
    offsets: Tensor
    types: Tensor | None = None
    labels: Tensor | None = None
    num_cut: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens of each text, int64 (N,)."""
        return self.offsets.diff()

    def batch(self, at: Tensor, pad_id: int, with_types: bool, max_length: int) -> dict[str, Tensor]:
        """Some texts as a model takes them, padded on the right to a multiple of 8 (of at most ``max_length``).

        Args:
            at: which, int64 (B,).
            pad_id: the token that fills up.
            with_types: whether the model takes ``token_type_ids``.
            max_length: of any text.

        Returns:
            ``input_ids``, ``attention_mask`` and perhaps ``token_type_ids``, int64 (B, L).
        """
        where, mask = self._where(at, max_length)
        ids = self.ids[where].long().masked_fill_(~mask, pad_id)
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if with_types:
            types = torch.zeros_like(ids) if self.types is None else self.types[where].long().masked_fill_(~mask, 0)
            inputs["token_type_ids"] = types
        return inputs

    def label_batch(self, at: Tensor, max_length: int) -> Tensor:
        """The labels of the same tokens, int64 (B, L), -100 where there is none."""
        assert self.labels is not None
        where, mask = self._where(at, max_length)
        return self.labels[where].long().masked_fill_(~mask, IGNORED)

    def _where(self, at: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
        """Of each place of a batch the token in ``ids``, and whether there is one."""
        starts, lengths = self.offsets[at], self.offsets[at + 1] - self.offsets[at]
        longest = int(lengths.max())
        columns = torch.arange(min(-(-longest // MULTIPLE) * MULTIPLE, max(max_length, longest)))
        mask = columns < lengths[:, None]
        return (starts[:, None] + columns).clamp_(max=len(self.ids) - 1), mask

    def with_shortened(self, rows: Tensor, shortened: "Encoded") -> "Encoded":
        """The same, where the tokens of some rows are fewer; what was there is overwritten.

        Args:
            rows: which, int64 (R,).
            shortened: their tokens, none more than there were.
        """
        keep = torch.ones(len(self.ids), dtype=torch.bool)
        lengths = self.lengths.clone()
        lengths[rows] = shortened.lengths
        pairs = [(self.ids, shortened.ids), (self.types, shortened.types), (self.labels, shortened.labels)]
        for number, row in enumerate(rows.tolist()):
            start, end = int(self.offsets[row]), int(self.offsets[row + 1])
            begin, stop = int(shortened.offsets[number]), int(shortened.offsets[number + 1])
            middle = start + stop - begin
            for old, new in pairs:
                if old is not None:
                    old[start:middle] = 0 if new is None else new[begin:stop]
            keep[middle:end] = False
        ids, types, labels = (None if old is None else _kept(old, keep) for old, _ in pairs)
        assert ids is not None
        return replace(
            self, ids=ids, offsets=offsets_of(lengths.numpy()), types=types, labels=labels, num_cut=len(rows)
        )


def _kept(values: Tensor, keep: Tensor) -> Tensor:
    """``values[keep]`` in the memory of ``values``."""
    end = 0
    for part, mask in zip(torch.split(values, _AT_A_TIME), torch.split(keep, _AT_A_TIME), strict=True):
        kept = part[mask]
        values[end : end + len(kept)] = kept
        end += len(kept)
    return values[:end]


class Growing:
    """An array that grows where it is, where a list of pieces and their concatenation would take the memory twice."""

    def __init__(self, dtype: Any) -> None:
        self._values = np.empty(0, dtype)
        self._end = 0

    def add(self, values: "np.ndarray[Any, Any]") -> None:
        """Append."""
        end = self._end + len(values)
        if end > len(self._values):
            self._values.resize(end + end // 4, refcheck=False)
        self._values[self._end : end] = values
        self._end = end

    def finish(self) -> "np.ndarray[Any, Any]":
        """All values."""
        self._values.resize(self._end, refcheck=False)
        return self._values


def offsets_of(lengths: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Tensor:
    """Where each of several pieces begins, and where the last one ends, int64 (N + 1,)."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
