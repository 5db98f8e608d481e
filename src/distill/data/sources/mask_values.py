"""What the values of masks mean: their classes, and what is wrong with a value that is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.data.targets import IGNORED_PIXEL
from distill.data.vision.images import EncodedImages
from distill.data.vision.masked import read_mask
from distill.data.vision.pixels import BrokenImageError
from distill.utils.errors import UserError
from distill.utils.processes import map_in_threads

LOSSY = ("JPEG", "MPO")  # formats that change values
_NAMED = "data.source.classes"


@dataclass(frozen=True)
class Used:
    """The values of one mask.

    Attributes:
        name: of its file.
        values: the different ones, ascending.
        counts: how many pixels have each.
        is_lossy: whether the file's format may have changed them.
    """

    name: str
    values: list[int]
    counts: list[int]
    is_lossy: bool


def classes(given: Any, ignore: int | None) -> tuple[list[str] | None, list[int] | None]:
    """The names of the classes and the value of each; None: the masks are to say.

    Args:
        given: their number, their names (of the values 0, 1, …), or each name's value; None: nothing is said.
        ignore: the value that means no class.

    Raises:
        UserError: it is nothing of that.
    """
    if ignore is not None and (isinstance(ignore, bool) or not isinstance(ignore, int) or not 0 <= ignore <= 255):
        raise UserError(f"data.source.ignore must be a whole number in 0..255, or null, got {ignore!r}")
    if given is None:
        return None, None
    if isinstance(given, int) and not isinstance(given, bool):
        given = list(map(str, range(given)))
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
        raise UserError(f"{_NAMED} must be a number, a list of names, or each name's value, got {given!r}")
    names = list(map(str, given))
    values = list(given.values()) if isinstance(given, Mapping) else [*range(len(names) + 1)]
    if not isinstance(given, Mapping):  # a value that is ignored has no name
        values = [value for value in values if value != ignore][: len(names)]
    whole = all(isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255 for value in values)
    if not 2 <= len(names) < IGNORED_PIXEL or len({*names}) < len(names) or len({*values}) < len(names) or not whole:
        raise UserError(
            f"{_NAMED} must be 2 to 254 classes, each with a name and a value in 0..255 of its own, got {given}"
        )
    return names, values


def survey(images: EncodedImages, masks: EncodedImages) -> list[Used]:
    """The values of every mask; an image that cannot be read is reported where it is decoded.

    Raises:
        UserError: a mask that cannot be read, or has another size than its image.
    """

    def look(row: int) -> Used:
        try:
            values, file_format = read_mask(masks, row)
        except BrokenImageError as error:
            raise UserError(str(error)) from error
        try:
            size = images.check(row)
        except BrokenImageError:
            size = values.shape
        if size != values.shape:
            sizes = " and ".join("×".join(map(str, each)) for each in (size, values.shape))
            raise UserError(
                f"{images.name(row)} and its mask {masks.name(row)} differ in size, height × width: {sizes}"
            )
        found, counts = np.unique(values, return_counts=True)
        return Used(masks.name(row), found.tolist(), counts.tolist(), file_format in LOSSY)

    return map_in_threads(look, range(len(masks)))


def table(
    used: Mapping[str, Sequence[Used]],
    names: list[str] | None,
    values: list[int] | None,
    ignore: int | None,
    without_class: frozenset[int] = frozenset(),
) -> tuple[list[str], np.ndarray]:
    """The classes' names, and the class of every value, uint8 (256,); 255: none.

    Args:
        used: the values of the masks of each split.
        names: of the classes; None: the numbers of the training masks' values.
        values: of the classes in the masks.
        ignore: the value that means no class.
        without_class: others that mean it.

    Raises:
        UserError: a value that is no class, values with gaps that nothing names, or one class only.
    """
    every = [mask for masks in used.values() for mask in masks]
    if names is None or values is None:
        present = sorted({value for mask in used["train"] for value in mask.values} - {ignore})
        if len(present) < 2:
            held = f"the value {present[0]}" if present else "no value"
            raise UserError(
                f"the training masks hold {held} alone, beside the ignored "
                f'{ignore}: of two classes, name each one\'s value, "{_NAMED}={{background: 0, object: 255}}" '
                "data.source.ignore=null"
            )
        if present[-1] != len(present) - 1:
            gap = next(value for value in present if value > present.index(value))
            raise _stray(every, gap, f"the values of the training masks have gaps below it: name them ({_NAMED})")
        names, values = list(map(str, present)), present
    lookup = np.full(256, IGNORED_PIXEL, np.uint8)
    lookup[values] = np.arange(len(names), dtype=np.uint8)
    known = {*values, ignore, *without_class}
    stray = next((value for mask in every for value in mask.values if value not in known), None)
    if stray is not None:
        but = "" if ignore is None else f", and {ignore} is ignored"
        numbers = f"0..{len(names) - 1}" if values == [*range(len(names))] else ", ".join(map(str, values))
        raise _stray(every, stray, f"the {len(names)} classes have the values {numbers}{but} (data.source.ignore)")
    return names, lookup


def _stray(every: Sequence[Used], value: int, why: str) -> UserError:
    """A value that is no class: where it is, how often, and its likely cause."""
    having = [mask for mask in every if value in mask.values]
    first = having[0]
    count = first.counts[first.values.index(value)]
    where = f"the mask {first.name} holds the value {value} ({count} pixels; {len(having)} of {len(every)} masks do)"
    if first.is_lossy:
        why = "it is a JPEG, which blurs class numbers at the edges of objects: save masks as PNG"
    return UserError(f"{where}: {why}")
