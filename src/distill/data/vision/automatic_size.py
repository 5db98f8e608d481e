"""The size of images that come in several sizes, or larger than a training can afford."""

from statistics import median

from distill.data.splits import Split
from distill.data.vision.images import ImageSet
from distill.data.vision.pixels import BrokenImageError

LOOKED_AT = 1000  # images, evenly spread, whose headers are read


def automatic_size(train: Split[ImageSet], largest: int) -> int | None:
    """The side in pixels to which images are fitted; None: they are of one size, and stay as they are.

    It is the median of their shorter sides (of images with masks, which are not cut, of the longer ones), in steps of 4
    pixels, at most ``largest``.

    Args:
        train: the training images.
        largest: side in pixels.
    """
    sizes: list[tuple[int, int]] = []
    for row in train.rows[:: max(1, len(train.rows) // LOOKED_AT)].tolist():
        try:
            sizes.append(train.dataset.check(row))
        except BrokenImageError:  # reported, or skipped, when all are read
            continue
    if not sizes or (len(set(sizes)) == 1 and max(sizes[0]) <= largest):
        return None
    side = int(median(map(min if train.dataset.masks is None else max, sizes)))
    return min(largest, max(4, side // 4 * 4))
