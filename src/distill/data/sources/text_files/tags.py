"""The tags of words: which scheme they follow, and their numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from distill.data.sources.text_files.rows import Rows, as_array
from distill.data.splits import Splits
from distill.data.text.dataset import Places, TextSet
from distill.utils.errors import UserError, nearest


def tagged_splits(parts: Mapping[str, Sequence[Rows]]) -> Splits:
    """Sentences with tags, whose classes are the training tags, ``O`` first, the others sorted.

    Where a tag begins with ``B-`` or ``I-``, all are ``O``, ``B-<type>`` or ``I-<type>`` (BIO; IOB1 is the same set).
    A tag of another split counts as one of the classes where another tag of its type is.

    Args:
        parts: of each split the rows of its files.

    Raises:
        UserError: a tag that is null, of another scheme, or of a type that is not in the training split.
    """
    named = {split: [_named(rows) for rows in several] for split, several in parts.items()}
    train = {tag for part in named["train"] for tags in part for tag in tags}
    is_bio = any(tag.startswith(("B-", "I-")) for tag in train)
    types = {tag[2:] for tag in train}
    known: set[str] = set()
    for split in ("train", *(split for split in parts if split != "train")):
        for rows, part in zip(parts[split], named[split], strict=True):
            for row, tags in enumerate(part):
                for tag in {*tags} - known:
                    _check(tag, is_bio, rows.places, row)
                    if tag not in train and not (is_bio and tag[2:] in types):
                        where = f"the tag {tag!r} of {rows.places.name(row)}"
                        raise UserError(f"{where} is no tag of the training split; {nearest(tag, sorted(train))}")
                    known.add(tag)
    classes = sorted(known, key=lambda tag: (tag != "O", tag))
    if len(classes) < 2:
        raise UserError(f"all words have the tag {classes[0]!r}: at least 2 different ones are needed")
    numbers = {tag: number for number, tag in enumerate(classes)}
    splits: dict[str, Any] = {}
    for split, several in parts.items():
        flat = [numbers[tag] for part in named[split] for tags in part for tag in tags]
        texts = as_array([chunk for rows in several for chunk in rows.texts[0].chunks])
        places = Places.joined([rows.places for rows in several])
        splits[split] = TextSet(texts, places, tags=torch.tensor(flat), classes=classes)
    return Splits(**splits, classes=classes)


def _named(rows: Rows) -> list[list[str]]:
    """The tags of each sentence by their names."""
    (values,) = rows.labels.values()
    named = []
    for row, tags in enumerate(values):
        try:
            named.append([_name(tag, rows.names) for tag in tags])
        except ValueError as error:
            raise UserError(f"{rows.places.name(row)}: {error}") from error
    return named


def _name(tag: Any, names: Sequence[str] | None) -> str:
    if isinstance(tag, bool) or not isinstance(tag, str | int) or tag == "":
        raise ValueError(f"a tag must be text or a whole number, got {tag!r}")
    if isinstance(tag, str) or names is None:
        return str(tag)
    if not 0 <= tag < len(names):
        raise ValueError(f"the tag {tag} is outside 0..{len(names) - 1}")
    return names[tag]


def _check(tag: str, is_bio: bool, places: Places, row: int) -> None:
    """A UserError for a tag that is none of the scheme."""
    if is_bio and tag != "O" and not (tag.startswith(("B-", "I-")) and len(tag) > 2):
        where = f"the tag {tag!r} of {places.name(row)}"
        raise UserError(f"{where} is none of O, B-<type> and I-<type>, as the other tags are")
