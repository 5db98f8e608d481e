"""One split of a table: its samples, and the label columns of its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distill.data.splits import LabelledDataset


@dataclass(frozen=True)
class Labels:
    """The labels of one file, or of one split.

    Attributes:
        columns: the values of each label column; of classes it is one, of whole numbers or text.
        names: what whole numbers stand for, in their order; None: nothing says so, or the values are others.
    """

    columns: Mapping[str, Sequence[Any]]
    names: Sequence[str] | None = None

    @property
    def values(self) -> Sequence[Any]:
        """Those of the only column."""
        (values,) = self.columns.values()
        return values


@dataclass(frozen=True)
class Table:
    """One split: ``size`` samples still without labels, and the labels of its files in the order of the samples."""

    samples: LabelledDataset
    labels: Sequence[Labels]
    size: int
