"""How images are decoded, held in memory, augmented and normalised: the options, and the loaded splits."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

import torch

from distill.data.splits import Split
from distill.data.vision.augment import Augment, BatchAugment, FileAugment
from distill.data.vision.dataset import BatchTransform, FileDataset, MemoryDataset
from distill.data.vision.load import LoadedSplit, OnBroken, fingerprint, is_decoded, load, shape, statistics
from distill.data.vision.mixing import Mixing
from distill.data.vision.preprocess import Preprocess, Scaling
from distill.utils.errors import UserError

# ImageNet's statistics; for one channel, the mean over the three.
_IMAGENET = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


@dataclass(frozen=True)
class ImageOptions:
    """The options of a DataModule that concern images.

    Args:
        image_size: side in pixels to which images are resized and cropped; None: as they are (then of one size).
        in_memory: decode once and keep; None: where what has to be decoded takes at most ``memory_gb`` and neither
            ``augment.scale`` nor ``transform`` needs the files.
        memory_gb: limit of None above, in GB (10⁹ bytes).
        augment: the training augmentation; the default changes nothing.
        transform: of a training image, before the rest of ``augment``: a callable on a PIL image (a tensor, where
            the source has tensors) that returns an image or a tensor of one size. A float tensor counts as 0..1,
            and all are normalised with ``mean`` and ``std`` afterwards. Its randomness must come from torch's,
            numpy's or Python's global generator.
        mean: per channel, for pixels in 0..1; None: of the training split in memory, else ImageNet's.
        std: likewise.
        on_broken: what an unreadable image does: "error", or "skip" with a logged warning.

    Raises:
        UserError: for a value out of range or options that exclude each other.
    """

    image_size: int | None = None
    in_memory: bool | None = None
    memory_gb: float = 2.0
    augment: Augment = field(default_factory=Augment)
    transform: Callable[[Any], Any] | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    on_broken: OnBroken = "error"

    def __post_init__(self) -> None:
        if self.image_size is not None and (not isinstance(self.image_size, int) or self.image_size < 1):
            raise UserError(f"data.image_size must be a whole number, 1 or more, got {self.image_size!r}")
        if self.on_broken not in get_args(OnBroken):
            raise UserError(f"data.on_broken must be error or skip, got {self.on_broken!r}")
        if self.std is not None and min(self.std) <= 0:
            raise UserError(f"data.std must be positive, got {list(self.std)}")
        if self.transform is not None and self.augment.scale is not None:
            raise UserError("data.transform takes the place of data.augment.scale: set data.augment.scale=null with it")
        if self.in_memory and self._need_files:
            raise UserError(
                f"data.in_memory=true keeps one view of each image, so data.{self._need_files} must be null"
            )
        if self.augment.scale is not None and self.image_size is None:
            raise UserError("data.augment.scale crops to data.image_size pixels: set data.image_size")

    @property
    def _need_files(self) -> str | None:
        """The option that decodes every image anew in each epoch."""
        return (
            "augment.scale" if self.augment.scale is not None else "transform" if self.transform is not None else None
        )

    @property
    def random_views(self) -> bool:
        """Whether a training image looks different from epoch to epoch."""
        augment = self.augment
        options = (augment.crop_padding, augment.flip, augment.cutout, augment.scale, self.transform, self.mixes)
        return any(options)

    @property
    def mixes(self) -> str | None:
        """``"mixup=0.2"`` where training mixes samples, and a target is a distribution; else None."""
        alphas = {"mixup": self.augment.mixup, "cutmix": self.augment.cutmix}
        return " and ".join(f"{name}={alpha:g}" for name, alpha in alphas.items() if alpha) or None

    @property
    def resize(self) -> int | None:
        """The shorter side of an evaluation image before the central crop; None: nothing is resized."""
        size = self.image_size
        return round(size / 0.875) if size is not None and self.augment.scale is not None else size

    def load(self, splits: dict[str, Split], classes: list[str], subset: int | None) -> "LoadedImages":
        """Decode or check every split; ``subset`` was applied already and counts in the fingerprint."""
        channels, height, width = self._common_shape(splits)
        memory = self._decodes_once(splits, channels * height * width)
        loaded = {
            name: load(split, name, (height, width), self.image_size, memory, self.on_broken)
            for name, split in splits.items()
        }
        scaling = self._scaling(loaded["train"], channels)
        # Without memory addresses, the repr of a transform is the same in every process.
        transform = re.sub(r" at 0x[0-9a-f]+", "", repr(self.transform))
        settings = [asdict(self.augment), scaling, self.image_size, subset, transform]
        return LoadedImages(self, loaded, classes, channels, height, width, scaling, fingerprint(loaded, settings))

    def _common_shape(self, splits: Mapping[str, Split]) -> tuple[int, int, int]:
        """(C, H, W) of the first training image that can be read."""
        train = splits["train"]
        for row in train.rows.tolist():
            try:
                common = shape(train.images, row, self.image_size)
                break
            except UserError:
                if self.on_broken == "error":
                    raise
        else:
            raise UserError(f"none of the {len(train.rows)} images of the train split can be read")
        for name, split in splits.items():
            if split.images.channels not in (None, common[0]):
                raise UserError(f"train images have {common[0]} channels, {name} images {split.images.channels}")
        return common

    def _decodes_once(self, splits: Mapping[str, Split], values: int) -> bool:
        """Whether all images, ``values`` numbers each, are kept in memory."""
        if self._need_files or self.in_memory is not None:
            return bool(self.in_memory)
        needed = 0
        for split in splits.values():
            pixels = split.images.pixels
            if not is_decoded(split.images, self.image_size):
                needed += len(split.rows) * (1 if pixels is None or pixels.dtype == torch.uint8 else 4)
        return needed * values <= float(self.memory_gb) * 1e9

    def _scaling(self, train: LoadedSplit, channels: int) -> Scaling:
        mean, std = self.mean, self.std
        if mean is None or std is None:
            if train.pixels is not None:
                defaults = statistics(train)
            elif channels in _IMAGENET:
                defaults = _IMAGENET[channels]
            else:
                raise UserError(f"data.mean and data.std must be given for images of {channels} channels in files")
            mean, std = defaults[0] if mean is None else mean, defaults[1] if std is None else std
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != channels:
                raise UserError(f"data.{name} has {len(values)} values, but the images have {channels} channels")
        return Scaling(tuple(map(float, mean)), tuple(map(float, std)))


@dataclass(frozen=True)
class LoadedImages:
    """Every split's images, decoded or checked, and what a model must fit.

    Attributes:
        width: of every image in pixels; ``image_size`` is the height.
        fingerprint: hex digest of the data and of all that shapes a view but seed and batch size.
    """

    options: ImageOptions
    splits: dict[str, LoadedSplit]
    classes: list[str]
    in_channels: int
    image_size: int
    width: int
    scaling: Scaling
    fingerprint: str

    @property
    def preprocess(self) -> Preprocess:
        """The evaluation transform of one image."""
        resize = self.options.resize or (self.image_size if self.image_size == self.width else None)
        mean, std = self.scaling.mean, self.scaling.std
        return Preprocess(self.in_channels, self.image_size, self.width, resize, mean, std)

    def dataset(
        self, name: str, train: bool, seed: int, cycle: int | None, device: torch.device | None
    ) -> MemoryDataset | FileDataset:
        """A split as a dataset of batches.

        Args:
            name: "train", "val" or "test".
            train: whether with random augmentation.
            seed: of the augmentation.
            cycle: the augmentation repeats after so many epochs; None: never.
            device: of the batches, for images in memory.
        """
        options, augment, loaded = self.options, self.options.augment, self.splits[name]
        batched = BatchAugment(augment.crop_padding, augment.flip, augment.cutout) if train else None
        mixing = Mixing(augment.mixup, augment.cutmix, len(self.classes)) if train and options.mixes else None
        transform = BatchTransform(self.scaling, batched, mixing, seed, cycle)
        if loaded.pixels is not None:
            return MemoryDataset(loaded.split, transform, *loaded.on(device or loaded.pixels.device))
        decoded = options.transform
        if options.image_size is not None and augment.scale is not None:
            decoded = FileAugment(options.image_size, augment.scale)
        skip = options.on_broken == "skip"
        return FileDataset(
            loaded.split, transform, decoded if train else None, options.image_size, options.resize, skip
        )
