"""F1 of entities: spans of words with a type, counted as seqeval counts them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from distill.data.targets import IGNORED

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
    are made. TP, FP and FN are counted by type, and summed over all processes.

    Args:
        tags: the names of the classes, e.g. ["O", "B-PER", "I-PER"].

    Attributes:
        types: of entities, as "PER", sorted.

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
        self.types = sorted({kind for prefix, kind in parts if prefix != "O"})
        self._numbers = [kinds.index(kind) for kind in self.types]
        self.register_buffer("prefixes", torch.tensor([PREFIXES.index(p) for p, _ in parts]), persistent=False)
        self.register_buffer("kinds", torch.tensor([kinds.index(kind) for _, kind in parts]), persistent=False)
        for name in ("true_positives", "false_positives", "false_negatives"):
            self.add_state(name, torch.zeros(len(kinds), dtype=torch.int64), dist_reduce_fx="sum")

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
        right = self._by_kind(expected, (predicted == expected) & (expected >= 0))
        self.true_positives += right
        self.false_positives += self._by_kind(predicted, predicted >= 0) - right
        self.false_negatives += self._by_kind(expected, expected >= 0) - right

    def _by_kind(self, entities: Tensor, among: Tensor) -> Tensor:
        """How many there are of each kind, int64 (K,), of those that ``among`` (bool) allows."""
        numbers = torch.arange(len(self.true_positives), device=entities.device)
        return (entities[among] % len(numbers) == numbers[:, None]).sum(1)

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
        return torch.where(starts, ends * len(self.true_positives) + kind, -1)

    def compute(self) -> Tensor:
        """F1 in [0, 1]."""
        found, wrong = self.true_positives.sum(), (self.false_positives + self.false_negatives).sum()
        return 2 * found / (2 * found + wrong).clamp(min=1)

    def by_type(self) -> dict[str, dict[str, float]]:
        """Of each type of entity "f1", "precision" and "recall" in [0, 1], and "support", how many there are."""
        table = {}
        for name, number in zip(self.types, self._numbers, strict=True):
            counts = (self.true_positives, self.false_positives, self.false_negatives)
            found, false, missed = (int(count[number]) for count in counts)
            table[name] = {
                "f1": 2 * found / max(2 * found + false + missed, 1),
                "precision": found / max(found + false, 1),
                "recall": found / max(found + missed, 1),
                "support": found + missed,
            }
        return table
