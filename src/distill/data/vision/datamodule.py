"""Images as a DataModule: how they are decoded, held in memory, augmented and normalised."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_args

import torch
from PIL import Image
from torch import Tensor

from distill.data.datamodule import DataModule, LoadedData, Source, SplitName
from distill.data.options import DataOptions
from distill.data.splits import Split
from distill.data.vision.augment import Augment, FileAugment
from distill.data.vision.automatic_size import automatic_size
from distill.data.vision.dataset import BatchTransform, FileDataset, MemoryDataset
from distill.data.vision.fingerprint import described, fingerprint
from distill.data.vision.images import EncodedImages, ImageSet
from distill.data.vision.load import LoadedSplit, OnBroken, common_shape, is_decoded, load, statistics
from distill.data.vision.map_style import as_image_set
from distill.data.vision.mixing import Mixing
from distill.data.vision.preprocess import Preprocess, Scaling
from distill.data.vision.ranges import check_contents, check_ranges
from distill.utils.errors import UserError

# ImageNet's statistics; for one channel, the mean over the three.
_IMAGENET = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


@dataclass(frozen=True)
class ImageOptions:
    """The options of an ImageDataModule that concern images.

    Args:
        image_size: side in pixels to which images are resized and cropped; None: as they are (then of one size).
        largest: from the number of training images to the largest side in pixels where ``image_size`` is None: images
            in files of several sizes, or larger ones, are fitted to their median, at most that; None: they are not.
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
    largest: Callable[[int], int] | None = None
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
        if self.in_memory and self._decoded_each_epoch:
            raise UserError(
                f"data.in_memory=true keeps one view of each image, so data.{self._decoded_each_epoch} must be null"
            )
        if self.augment.scale is not None and self.image_size is None and self.largest is None:
            raise UserError("data.augment.scale crops to data.image_size pixels: set data.image_size")

    @property
    def _decoded_each_epoch(self) -> str | None:
        """The option that decodes every image anew in each epoch."""
        options = {"augment.scale": self.augment.scale, "transform": self.transform}
        return next((name for name, value in options.items() if value is not None), None)

    @property
    def random_views(self) -> bool:
        """Whether a training image looks different from epoch to epoch."""
        return self.augment != Augment() or self.transform is not None

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

    def sized(self, train: Split[ImageSet]) -> "ImageOptions":
        """These options with the image size that was left to the data."""
        if self.image_size is not None or self.largest is None:
            return self
        in_files = train.dataset.pixels is None
        size = automatic_size(train, self.largest(len(train.rows))) if in_files else None
        if size is None and self.augment.scale is not None:
            size = common_shape(train, None, self.on_broken)[1]
        return replace(self, image_size=size)

    def padded(self, side: int) -> "ImageOptions":
        """These options with the padding of crops that was left to the images' side."""
        if self.augment.crop_padding is not None:
            return self
        padding = 0 if self.augment.scale is not None else side // 8
        return replace(self, augment=replace(self.augment, crop_padding=padding))

    def fits_in_memory(self, splits: Mapping[str, Split[ImageSet]], values: int) -> bool:
        """Whether all images, ``values`` numbers each, are kept in memory."""
        if self._decoded_each_epoch or self.in_memory is not None:
            return bool(self.in_memory)
        num_bytes = 0
        for split in splits.values():
            pixels = split.dataset.pixels
            if not is_decoded(split.dataset, self.image_size):
                num_bytes += len(split.rows) * values * (1 if pixels is None or pixels.dtype == torch.uint8 else 4)
        return num_bytes <= float(self.memory_gb) * 1e9

    def scaling(self, train: LoadedSplit, channels: int) -> Scaling:
        """The normalisation: of the options, else of the training images in memory, else ImageNet's."""
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
class LoadedImages(LoadedData):
    """Every split's images, decoded or checked, and the evaluation transform of one image."""

    splits: dict[str, LoadedSplit]
    preprocess: Preprocess
    options: ImageOptions  # with what was left to the data


class ImageDataModule(DataModule[LoadedImages]):
    """Batches from a source of images.

    Args:
        source: returns ``Splits``, one dataset, or an object with train, val, test and classes.
        options: of splits and batches.
        image_options: how images are decoded, augmented and normalised; None: the defaults.

    Raises:
        UserError: in ``setup``, for data that do not fit together.
    """

    as_dataset = staticmethod(as_image_set)

    def __init__(self, source: Source, options: DataOptions, image_options: ImageOptions | None = None) -> None:
        super().__init__(source, options)
        self.image_options = image_options or ImageOptions()
        self.random_views = self.image_options.random_views
        self.mixes = self.image_options.mixes

    @classmethod
    def from_options(
        cls, source: Source, batch_size: int, augment: Augment | Mapping[str, Any] | None = None, **options: Any
    ) -> "ImageDataModule":
        """From the flat keys of the configuration's node ``data``, those of ``ImageOptions`` among them."""
        augment = augment if isinstance(augment, Augment) else Augment(**(augment or {}))
        names = {each.name for each in fields(ImageOptions)} & options.keys()
        image_options = ImageOptions(augment=augment, **{name: options.pop(name) for name in names})
        return cls(source, DataOptions(batch_size, **options), image_options)

    @staticmethod
    def option_names() -> set[str]:
        """The keys that :meth:`from_options` takes beside ``source`` and ``batch_size``."""
        return {"augment", *(each.name for each in (*fields(DataOptions), *fields(ImageOptions)))} - {"batch_size"}

    def load(self, splits: dict[str, Split[ImageSet]], classes: list[str]) -> LoadedImages:
        """Decode or check every split."""
        options = self.image_options.sized(splits["train"])
        channels, height, width = common_shape(splits["train"], options.image_size, options.on_broken)
        options = options.padded(min(height, width))
        for name, split in splits.items():
            if split.dataset.channels not in (None, channels):
                raise UserError(f"train images have {channels} channels, {name} images {split.dataset.channels}")
        held = channels + (splits["train"].dataset.masks is not None)
        memory = options.fits_in_memory(splits, held * height * width)
        loaded = {
            name: load(split, name, (height, width), options.image_size, memory, options.on_broken)
            for name, split in splits.items()
        }
        scaling = options.scaling(loaded["train"], channels)
        is_computed = loaded["train"].pixels is not None and options.mean is None and options.std is None
        check_ranges(loaded, None if is_computed else scaling)
        check_contents(loaded["train"])
        views = [options.image_size, self.options.subset, described(options.transform)]
        settings: list[object] = [asdict(options.augment), scaling, *views]
        settings += [self.options.targets, classes] if self.options.targets != "classes" else []
        resize = options.resize or (height if height == width else None)
        pad = splits["train"].dataset.masks is not None and resize is not None
        preprocess = Preprocess(channels, height, width, None if pad else resize, scaling.mean, scaling.std, pad)
        in_memory = loaded["train"].pixels is not None
        return LoadedImages(loaded, classes, fingerprint(loaded, settings), in_memory, preprocess, options)

    @property
    def preprocess(self) -> Preprocess:
        """The evaluation transform of one image."""
        return self.loaded.preprocess

    @property
    def chosen(self) -> dict[str, Any]:
        """The image size."""
        return {"image_size": self.loaded.options.image_size}

    @property
    def in_channels(self) -> int:
        """Channels of every image."""
        return self.preprocess.channels

    @property
    def image_size(self) -> int:
        """Height of every image in pixels; its width too, unless the source's images are not square."""
        return self.preprocess.height

    def model_arguments(self, output: str) -> dict[str, Any]:
        """Channels and image size, as models of images take them."""
        return self.preprocess.model_arguments(output)

    def describe(self) -> dict[str, Any]:
        """What was trained and measured on, for the record of a run."""
        image = {"channels": self.in_channels, "image_size": self.image_size, "preprocess": self.preprocess.as_dict()}
        return super().describe() | image

    def show(self, split: str, index: int) -> Image.Image | Tensor:
        """See :meth:`image`."""
        return self.image(split, index)

    def image(self, split: str, index: int) -> Image.Image | Tensor:
        """An image as its source has it, by its ``Batch.index``: a PIL image, or a tensor (C, H, W)."""
        return self.loaded.splits[split].dataset.image(index)

    def file(self, split: str, index: int) -> str | None:
        """Where an image comes from, by its ``Batch.index``: the path of its file; None of those that have none."""
        images = self.loaded.splits[split].dataset
        return images.name(index) if isinstance(images, EncodedImages) else None

    def dataset(self, split: SplitName, train: bool) -> MemoryDataset | FileDataset:
        """A split as the loaders read it; ``train``: with random augmentation."""
        options, loaded = self.loaded.options, self.loaded.splits[split]
        augment = options.augment
        mixing = Mixing(augment.mixup, augment.cutmix, self.num_classes) if train and options.mixes else None
        augment_batch, scaling = augment if train else None, self.preprocess.scaling
        transform = BatchTransform(scaling, augment_batch, mixing, self.seed, self.options.cycle)
        if loaded.pixels is not None:
            return MemoryDataset(loaded, transform, *loaded.on(self._device(loaded.pixels)))
        file_transform = None
        if train:
            file_transform = options.transform
            if options.image_size is not None and augment.scale is not None:
                file_transform = FileAugment(options.image_size, augment.scale)
        skip = options.on_broken == "skip"
        return FileDataset(loaded, transform, file_transform, options.image_size, options.resize, skip)

    def _device(self, pixels: Tensor) -> torch.device:
        """Device of the batches: the trainer's if the images take at most a quarter of its memory.

        With num_workers set they are made on the host: a forked process cannot use CUDA.
        """
        strategy = getattr(self.trainer, "strategy", None)
        device = strategy.root_device if strategy is not None else pixels.device
        if device.type != "cuda" or self.options.num_workers:
            return pixels.device
        free, _ = torch.cuda.mem_get_info(device)
        return device if pixels.nbytes <= free / 4 else pixels.device
