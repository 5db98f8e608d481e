"""Whether every class has the samples that splits are made of."""

import math
from collections.abc import Sequence

from torch import Tensor

from distill.utils.errors import UserError

_FEW = 10  # classes, of which nobody mistakes a column for another


def check_counts(labels: Tensor, classes: Sequence[str], num_parts: int) -> None:
    """A UserError for a class that has fewer samples than splits are made of it.

    Args:
        labels: of the training samples, int64 (N,).
        classes: their names.
        num_parts: the number of these splits.
    """
    counts = labels.bincount(minlength=len(classes))
    too_small = ((counts > 0) & (counts < num_parts)).nonzero().flatten()
    if len(too_small):
        name, count = classes[int(too_small[0])], int(counts[too_small[0]])
        raise UserError(
            f"class {name!r} has {count} training sample{'s' * (count > 1)}: {num_parts} splits are made of them, "
            f"so each class needs at least {num_parts}{_hint(classes, len(too_small))}"
        )


def _hint(classes: Sequence[str], too_small: int) -> str:
    """What was read as classes may be none, where most of them have hardly a sample."""
    if too_small <= len(classes) / 2 or len(classes) < _FEW:
        return ""
    hint = f"; {too_small} of these {len(classes)} classes have too few: "
    if all(_is_number(name) for name in classes):
        return f"{hint}if they are numbers to predict, task=regression does that"
    return f"{hint}are these the labels (data.label=<column>)?"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
