"""Where images and their masks lie: which folders, which files belong together, which classes a layout is known for."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distill.data.sources.split_folders import SPLITS, named_splits, some
from distill.utils.errors import UserError
from distill.utils.files import image_suffixes, list_files, printable, subfolders

log = logging.getLogger(__name__)

IMAGES = ("images", "image", "imgs", "img", "jpegimages")
MASKS = ("masks", "mask", "labels", "annotations", "segmentationclass")
VOC = ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation")
CITYSCAPES = ("leftImg8bit", "gtFine")
VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
CITYSCAPES_IDS = frozenset(range(34))  # of _labelIds; those below are evaluated
CITYSCAPES_CLASSES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip


@dataclass(frozen=True)
class Pairs:
    """One split: paths of images and of their masks, relative to ``root``."""

    root: Path
    images: list[str]
    masks: list[str]


@dataclass(frozen=True)
class Layout:
    """Pairs of images and masks, and what the masks' values mean where the layout is known for it.

    Attributes:
        splits: every split, at least train.
        classes: names, or each name's value; None: the masks are to say.
        without_class: values that have no class, beside the ignored one.
    """

    splits: Mapping[str, Pairs]
    classes: Sequence[str] | Mapping[str, int] | None = None
    without_class: frozenset[int] = frozenset()


def find_layout(root: Path) -> Layout:
    """The pairs of images and masks in a folder.

    Raises:
        UserError: no folders of both, an image without its mask, or no training images.
    """
    if all((root / name).is_dir() for name in VOC):
        return Layout(_voc(root), VOC_CLASSES)
    if all((root / name).is_dir() for name in CITYSCAPES):
        return _cityscapes(root)
    image, mask = _folder(root, IMAGES), _folder(root, MASKS)
    if image and mask:
        images, masks = named_splits(root / image), named_splits(root / mask)
        if not images:
            return Layout({"train": _matched(root, f"{image}/", f"{mask}/")})
        _check_train(root / image, images)
        for split, folder in images.items():
            if split not in masks:
                raise UserError(f"{printable(folder)} has no masks: there is no folder {folder.name} in {root / mask}")
        of = {split: (f"{image}/{images[split].name}/", f"{mask}/{masks[split].name}/") for split in images}
        return Layout({split: _matched(root, *prefixes) for split, prefixes in of.items()})
    splits = named_splits(root)
    inner = {split: (_folder(path, IMAGES), _folder(path, MASKS)) for split, path in splits.items()}
    if splits and all(all(pair) for pair in inner.values()):
        _check_train(root, splits)
        names = {split: splits[split].name for split in splits}
        return Layout({s: _matched(root, f"{names[s]}/{a}/", f"{names[s]}/{b}/") for s, (a, b) in inner.items()})
    raise UserError(
        f"{printable(root.absolute())} holds {some(subfolders(root)) or 'no folders'}: expected images/ and masks/ ("
        "each with train/, val/, test/ or without), train/images/ and train/masks/, VOC's or Cityscapes' folders, or "
        "train*.parquet"
    )


def _folder(root: Path, names: Sequence[str]) -> str | None:
    """The folder with one of these names, in capitals or not."""
    return next((name for name in subfolders(root) if name.lower() in names), None)


def _check_train(root: Path, splits: Mapping[str, Path]) -> None:
    if "train" not in splits:
        raise UserError(f"{printable(root.absolute())} holds no folder train, but {some(splits)}")


def _matched(root: Path, images: str, masks: str, mask_of: Callable[[str], Sequence[str]] | None = None) -> Pairs:
    """Images below a folder and their masks below another, by their paths without suffix.

    Args:
        root: that both are relative to.
        images: the folder, with a slash.
        masks: likewise.
        mask_of: the paths that an image's mask may have, without suffix; None: the image's, perhaps with ``_mask``.
    """
    suffixes = image_suffixes()
    names = sorted(file.name for file in list_files(root / images, suffixes))
    if not names:
        raise UserError(f"{printable(root / images)} holds no images")
    by_stem = {_stem(file.name): file.name for file in list_files(root / masks, suffixes)}
    candidates = mask_of or (lambda stem: (stem, f"{stem}_mask"))
    found = [next((by_stem[c] for c in candidates(_stem(name)) if c in by_stem), None) for name in names]
    lacking = [name for name, mask in zip(names, found, strict=True) if mask is None]
    if lacking:
        image, mask = printable(root / images / lacking[0]), candidates(_stem(lacking[0]))[0]
        raise UserError(
            f"the image {image} has no mask: there is no {mask}.png in {printable(root / masks)} ({len(lacking)} of "
            f"{len(names)} images have none)"
        )
    taken = [f"{masks}{mask}" for mask in found]
    if len(by_stem) > len({*taken}):
        log.warning(f"{printable(root / masks)}: {len(by_stem) - len({*taken})} masks have no image, and are left out")
    return Pairs(root, [f"{images}{name}" for name in names], taken)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _voc(root: Path) -> dict[str, Pairs]:
    """The images that VOC's lists name, by split."""
    suffixes = image_suffixes()
    images, masks = ({_stem(f.name): f.name for f in list_files(root / name, suffixes)} for name in VOC[:2])
    splits = {}
    for name in ("train", "val", "test"):
        file = root / VOC[2] / f"{name}.txt"
        if not file.is_file():
            continue
        listed = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if name == "test" and not any(each in masks for each in listed):
            continue  # VOC's own test has no masks
        for each in listed:
            for folder, known in ((VOC[0], images), (VOC[1], masks)):
                if each not in known:
                    what = "image" if folder == VOC[0] else "mask"
                    raise UserError(
                        f"{printable(file)} lists {each}, and {printable(root / folder)} has no {what} of it"
                    )
        paths = ([f"{f}/{known[each]}" for each in listed] for f, known in zip(VOC[:2], (images, masks), strict=True))
        splits[name] = Pairs(root, *paths)
    if "train" not in splits:
        raise UserError(f"{printable(root / VOC[2])} holds no train.txt")
    return splits


def _cityscapes(root: Path) -> Layout:
    """Cityscapes' splits; its own test, whose masks hold no classes, is left out."""
    folders, masks = named_splits(root / CITYSCAPES[0]), root / CITYSCAPES[1]
    _check_train(root / CITYSCAPES[0], folders)
    ending = "TrainIds" if next(masks.glob("*/*/*_labelTrainIds.png"), None) else "Ids"

    def mask_of(stem: str) -> list[str]:
        return [f"{stem.removesuffix('_leftImg8bit')}_gtFine_label{ending}"]

    splits = {
        split: _matched(root, f"{CITYSCAPES[0]}/{folder.name}/", f"{CITYSCAPES[1]}/{folder.name}/", mask_of)
        for split, folder in folders.items()
        if split != SPLITS["test"]
    }
    if ending == "TrainIds":
        return Layout(splits, list(CITYSCAPES_CLASSES))
    return Layout(splits, CITYSCAPES_CLASSES, CITYSCAPES_IDS - {*CITYSCAPES_CLASSES.values()})
