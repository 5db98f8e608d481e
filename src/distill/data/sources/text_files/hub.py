"""Texts of a data set of the Hugging Face hub."""

from pathlib import Path
from typing import Any

from distill.data.sources.huggingface import load_splits
from distill.data.sources.text_files.rows import Choices, Rows
from distill.data.sources.text_files.tables import table_rows


def hub(name: str, config: str | None, revision: str | None, choices: Choices) -> dict[str, list[Rows]]:
    """The rows of each split of a data set on the hub (``owner/name``).

    Raises:
        UserError: the package datasets is missing, the data cannot be had, or as ``table_rows``.
    """
    splits, _ = load_splits(name, config, "train", None, None, None, revision, "data.root")
    return {option: [_rows(split, choices, option == "train")] for option, split in splits.items()}


def _rows(split: Any, choices: Choices, needs_labels: bool) -> Rows:
    names = {}
    for column, feature in split.features.items():
        listed = getattr(getattr(feature, "feature", feature), "names", None)
        if listed is not None:
            names[column] = list(listed)
    where: Path | str = f"the split {split.split}"
    return table_rows(split.with_format("arrow")[:], where, choices, names, needs_labels)
