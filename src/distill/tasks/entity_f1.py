"""F1 of entities: spans of words with a type, counted as seqeval counts them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

IGNORED = -100
PREFIXES = "OBIES"  # outside; begin, inside, end of an entity; a single word


def _parts(tag: str) -> tuple[str, str]:
    """Prefix and type of a tag: B-PER is B and PER, a bare B has the type ''."""
    prefix, kind = tag[:1], tag[1:].removeprefix("-")
    if prefix not in PREFIXES or not prefix or (prefix == "O") != (tag == "O") or (tag[1:] and tag[1] != "-"):
        raise ValueError(f"tags must be O, or a type after B-, I-, E- or S-, as B-PER; got {tag!r}")
    return prefix, kind


class EntityF1(Metric):
    """F1 = 2 · TP / (2 · TP + FP + FN) of all entities of all texts together (micro-average); 0 where there are none.

    An entity is a span of words and a type, and is right only with both ends and its type. Spans are those of conlleval
    and of seqeval's default mode, which forgive a wrong prefix: an entity begins at B- or S-, after E- or S-, where the
    type changes, and at any I- or E- behind O; it ends before the next one, before O, and at the text's end.

    Positions whose target is −100 (special tokens, padding, all but the first part of a word) are left out before spans
    are made. The counts TP, FP and FN are sums over all processes.

    Args:
        tags: the names of the classes, e.g. ["O", "B-PER", "I-PER"].

    Raises:
        ValueError: a tag is neither O nor a type after B-, I-, E- or S-.

    Source: Tjong Kim Sang and Buchholz 2000, "Introduction to the CoNLL-2000 Shared Task: Chunking" (conlleval), and
    Nakayama 2018, seqeval.

    Example:
        >>> metric = EntityF1(["O", "B-PER", "I-PER", "B-LOC"])
        >>> metric.update(torch.tensor([[1, 2, 0, 3]]), torch.tensor([[1, 2, 0, 1]]))
        >>> metric.compute().item()
        0.5
    """

    higher_is_better = True
    full_state_update = False

    true_positives: Tensor
    false_positives: Tensor
    false_negatives: Tensor
    prefixes: Tensor
    kinds: Tensor

    def __init__(self, tags: Sequence[str]) -> None:
        super().__init__()
        parts = [_parts(tag) for tag in tags]
        kinds = sorted({kind for _, kind in parts})
        self.register_buffer("prefixes", torch.tensor([PREFIXES.index(p) for p, _ in parts]), persistent=False)
        self.register_buffer("kinds", torch.tensor([kinds.index(kind) for _, kind in parts]), persistent=False)
        for name in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(name, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, target: Tensor) -> None:
        """Take one batch.

        Args:
            predictions: numbers of tags, int64 (N, L), padded anyhow.
            target: likewise, −100 where a position does not count.

        Raises:
            ValueError: the shapes differ, or are not (N, L).
        """
        if predictions.shape != target.shape or target.dim() != 2:
            raise ValueError(
                "predictions and target must have one shape (N, L), "
                f"got {tuple(predictions.shape)} and {tuple(target.shape)}"
            )
        counts = target != IGNORED
        text = counts.nonzero()[:, 0]
        first = torch.ones_like(text, dtype=torch.bool)  # of its text
        first[1:] = text[1:] != text[:-1]
        predicted, expected = (self._entities(tags[counts], first) for tags in (predictions, target))
        right = (predicted == expected) & (expected >= 0)
        found = right.sum()
        self.true_positives += found
        self.false_positives += (predicted >= 0).sum() - found
        self.false_negatives += (expected >= 0).sum() - found

    def _entities(self, tags: Tensor, first: Tensor) -> Tensor:
        """For each position one number that tells end and type of the entity that begins there, −1 where none does."""
        outside, begin, _, end, single = range(len(PREFIXES))
        prefix, kind = self.prefixes[tags], self.kinds[tags]
        before = torch.where(first, outside, prefix.roll(1))
        fresh = (before == outside) | (before == end) | (before == single)
        starts = (prefix != outside) & (fresh | (prefix == begin) | (prefix == single) | (kind != kind.roll(1)))
        breaks = starts | (prefix == outside)
        positions = torch.arange(len(tags), device=tags.device)
        after = torch.where(breaks, positions, len(tags)).roll(-1)  # the next break behind each position
        after[-1:] = len(tags)
        ends = after.flip(0).cummin(0).values.flip(0)
        return torch.where(starts, ends * (self.kinds.max() + 1) + kind, -1)

    def compute(self) -> Tensor:
        """F1 in [0, 1]."""
        wrong = self.false_positives + self.false_negatives
        return 2 * self.true_positives / (2 * self.true_positives + wrong).clamp(min=1)
