"""Documents of a language model packed into rows of one length, and rows as a batch.

Positions restart with every document; which tokens see each other follows from them alone (a model builds its
block-diagonal mask from ``position_ids``), and a document's first token is never a target.
"""

import hashlib
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distill.data.targets import IGNORED
from distill.data.text.encoded import MULTIPLE, offsets_of

Ints = NDArray[np.int64]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of pieces, none fuller than ``capacity``: best-fit decreasing, whose order depends on the lengths alone.

    Args:
        lengths: of the pieces, each at most ``capacity``.
        capacity: of a bin.

    Returns:
        The pieces' numbers of each bin.

    Source: Johnson 1973, "Near-Optimal Bin Packing Algorithms"; for training texts Ding et al. 2024, "Fewer Truncations
    Improve Language Modeling", arXiv:2404.10830.

    Example:
        >>> best_fit([5, 3, 4, 2], 7)
        [[0, 3], [2, 1]]
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # of each bin that is not full, ascending, with its number
    for piece in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = lengths[piece]
        at = bisect_left(room, (length, -1))
        left, number = room.pop(at) if at < len(room) else (capacity, len(bins))
        if number == len(bins):
            bins.append([])
        bins[number].append(piece)
        if left > length:
            insort(room, (left - length, number))
    return bins


@dataclass(frozen=True)
class Packed:
    """Rows of packed documents.

    Attributes:
        ids: of all tokens, row by row, int32 (T,).
        pieces: of each token the number of its piece, ascending within a row, int32 (T,).
        learnt: which tokens are targets, bool (T,); never the first of a piece.
        documents: of each piece the number of its document, int64 (P,).
        offsets: where each row begins, and T, int64 (N + 1,).
    """

    ids: Tensor
    pieces: Tensor
    learnt: Tensor
    documents: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def digest(self) -> str:
        """Hex digest of the tokens, of their documents, and of which are learnt."""
        hasher = hashlib.sha256()
        for part in (self.ids, self.pieces, self.learnt, self.offsets):
            hasher.update(part.contiguous().numpy().tobytes())
        return hasher.hexdigest()

    @property
    def lengths(self) -> Tensor:
        """Tokens of each row, int64 (N,)."""
        return self.offsets.diff()

    def documents_of(self, row: int) -> list[int]:
        """The documents in a row, in their order."""
        pieces = self.pieces[int(self.offsets[row]) : int(self.offsets[row + 1])]
        return list(dict.fromkeys(self.documents[pieces.long()].tolist()))

    def batch(self, at: Tensor, pad_id: int, max_length: int) -> tuple[dict[str, Tensor], Tensor]:
        """Some rows as a causal model takes them, padded on the right to a multiple of 8 (of at most ``max_length``).

        Args:
            at: which, int64 (B,).
            pad_id: the token that fills up.
            max_length: of any row.

        Returns:
            ``input_ids``, ``attention_mask`` and ``position_ids``, int64 (B, L), whose positions restart with every
            document and with the padding; and for each place the id of the next token, int64 (B, L), −100 where the
            next token is none of the same document's, or none to be learnt.
        """
        starts, lengths = self.offsets[at], self.offsets[at + 1] - self.offsets[at]
        longest = int(lengths.max())
        columns = torch.arange(min(-(-longest // MULTIPLE) * MULTIPLE, max(max_length, longest)))
        mask = columns < lengths[:, None]
        where = (starts[:, None] + columns).clamp_(max=len(self.ids) - 1)
        ids = self.ids[where].long().masked_fill_(~mask, pad_id)
        pieces = self.pieces[where].masked_fill_(~mask, -1)
        is_first = torch.ones_like(mask)
        is_first[:, 1:] = pieces[:, 1:] != pieces[:, :-1]
        positions = columns - torch.where(is_first, columns, 0).cummax(1).values
        target = torch.full_like(ids, IGNORED)
        learnt = self.learnt[where[:, 1:]] & mask[:, 1:]
        target[:, :-1] = torch.where(learnt, ids[:, 1:], IGNORED)
        return {"input_ids": ids, "attention_mask": mask.long(), "position_ids": positions}, target


def pack(ids: Tensor, learnt: Tensor, offsets: Tensor, max_length: int) -> Packed:
    """Documents in rows of at most ``max_length`` tokens; longer ones are split into pieces of that length.

    A piece without a target is left out.

    Args:
        ids: of all tokens, document by document, int32 (T,).
        learnt: which are targets, bool (T,).
        offsets: where each document begins, and T, int64 (D + 1,).
        max_length: of a row, at least 2.
    """
    starts, ends, owners = _pieces(offsets.numpy(), max_length)
    can_learn = learnt.numpy().copy()
    can_learn[starts] = False
    counts = np.concatenate([[0], np.cumsum(can_learn)])
    kept = counts[ends] > counts[starts]
    starts, ends, owners = starts[kept], ends[kept], owners[kept]
    lengths = ends - starts
    bins = best_fit(lengths.tolist(), max_length)
    order = np.array([piece for each in bins for piece in each], dtype=np.int64)
    rows = offsets_of(np.array([int(lengths[each].sum()) for each in bins], dtype=np.int64))
    ordered = lengths[order]
    number = np.repeat(np.arange(len(order), dtype=np.int64), ordered)
    within = np.arange(len(number)) - np.repeat(np.cumsum(ordered) - ordered, ordered)
    where = torch.from_numpy(starts[order][number] + within)
    return Packed(
        ids[where],
        torch.from_numpy(number.astype(np.int32)),
        torch.from_numpy(can_learn)[where],
        torch.from_numpy(owners[order]),
        rows,
    )


def _pieces(offsets: Ints, max_length: int) -> tuple[Ints, Ints, Ints]:
    """Where each piece of each document begins and ends, and its document."""
    lengths = np.diff(offsets)
    counts = -(-lengths // max_length)
    owners = np.repeat(np.arange(len(lengths), dtype=np.int64), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    starts = offsets[owners] + (np.arange(len(owners)) - first) * max_length
    return starts, np.minimum(starts + max_length, offsets[owners + 1]), owners
