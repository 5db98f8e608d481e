"""The DataModule: one source, loaded once, as training, validation and test batches."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol

import lightning.pytorch as pl
import torch
from PIL import Image
from torch import Tensor

from distill.data.batch import Batch
from distill.data.loader import ViewLoader, view_loader
from distill.data.sampler import ViewSampler
from distill.data.splits import Split, Splits, as_splits, check_labels, split_dataset, stratified
from distill.data.vision.augment import Augment
from distill.data.vision.dataset import FileDataset, MemoryDataset
from distill.data.vision.pipeline import ImageOptions, LoadedImages
from distill.data.vision.preprocess import Preprocess
from distill.utils.cpu import usable_cores
from distill.utils.errors import UserError


class Source(Protocol):
    """A function without arguments that reads a dataset."""

    def __call__(self) -> Splits | Any:
        """Return ``Splits``, one dataset, or an object with train, val, test and classes."""


@dataclass
class _Shared:
    """Loaded data that a DataModule shares with those made by its ``with_options``."""

    source: Splits | None = None
    images: LoadedImages | None = None


class DataModule(pl.LightningDataModule):
    """Batches from a source of images, with every random choice a function of (seed, epoch, index).

    Validation is split off the training images where the source has none; the test split is used for testing
    and nothing else.

    Args:
        source: returns ``Splits``, one dataset, or an object with train, val, test and classes.
        batch_size: samples per optimizer step, over all processes together.
        seed: of the order and the augmentation.
        val_fraction: share of the training images that becomes validation, 0 < f < 1; unused if the source has it.
        test_fraction: share of the images that becomes test, 0 < f < 1; unused if the source has it.
        split_seed: of the splits and of ``subset``.
        num_workers: processes that decode; None: 0 in memory, else the usable cores minus one, at least 1.
        subset: train on so many images, chosen at random with each class in its proportion; None: on all.
        num_classes: checked against the data's; None: not checked.
        eval_batch_size: None: ``batch_size``.
        cycle: the augmentation repeats after so many epochs (the order does not); None: never.
        images: how images are decoded, augmented and normalised; None: the defaults.

    Raises:
        UserError: for a value out of range; in ``setup``, for data that do not fit together.
    """

    def __init__(
        self,
        source: Source,
        batch_size: int,
        seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        num_workers: int | None = None,
        subset: int | None = None,
        num_classes: int | None = None,
        eval_batch_size: int | None = None,
        cycle: int | None = None,
        images: ImageOptions | None = None,
    ) -> None:
        super().__init__()
        self._options = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if not callable(source):
            raise UserError(f"data.source must be a callable without arguments, got {type(source).__name__}")
        minimums = {"batch_size": 1, "eval_batch_size": 1, "subset": 2, "num_workers": 0, "num_classes": 2, "cycle": 1}
        for name, minimum in minimums.items():
            value = self._options[name]
            if value is not None and (not isinstance(value, int) or value < minimum):
                raise UserError(f"data.{name} must be a whole number, {minimum} or more, got {value!r}")
        for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 < fraction < 1:
                raise UserError(f"data.{name} must lie between 0 and 1, both excluded, got {fraction}")
        self.batch_size = batch_size
        self.seed = seed
        self.image_options = images or ImageOptions()
        self._shared = _Shared()

    @classmethod
    def from_options(
        cls, source: Source, batch_size: int, augment: Augment | Mapping[str, Any] | None = None, **options: Any
    ) -> "DataModule":
        """From the flat keys of the configuration's node ``data``, those of ``ImageOptions`` among them."""
        augment = augment if isinstance(augment, Augment) else Augment(**(augment or {}))
        names = {field.name for field in fields(ImageOptions)} & options.keys()
        images = ImageOptions(augment=augment, **{name: options.pop(name) for name in names})
        return cls(source, batch_size, images=images, **options)

    def with_options(
        self,
        *,
        seed: int | None = None,
        batch_size: int | None = None,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        cycle: int | None = None,
    ) -> "DataModule":
        """The same data, loaded once for both, with another seed, batch size, …; None keeps the value."""
        changed = {"seed": seed, "batch_size": batch_size, "eval_batch_size": eval_batch_size}
        changed |= {"num_workers": num_workers, "cycle": cycle}
        other = type(self)(**{**self._options, **{name: v for name, v in changed.items() if v is not None}})
        other._shared = self._shared
        return other

    def prepare_data(self) -> None:
        """Fetch what the source needs; Lightning calls it on one process before the others set up."""
        self._source()

    def _source(self) -> Splits:
        if self._shared.source is None:
            self._shared.source = as_splits(self._options["source"]())
        return self._shared.source

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Load, check and split; the second call does nothing."""
        if self._shared.images is None:
            self._shared.images = self._load()

    def _load(self) -> LoadedImages:
        options, source = self._options, self._source()
        classes = check_labels(source)
        if options["num_classes"] not in (None, len(classes)):
            raise UserError(f"data.num_classes={options['num_classes']}, but the data have {len(classes)} classes")
        fractions = options["val_fraction"], options["test_fraction"]
        splits = split_dataset(source, *fractions, options["split_seed"], classes)
        train, subset = splits["train"], options["subset"]
        if subset is not None and subset < len(train.rows):
            seed, option = options["split_seed"], f"data.subset={subset}"
            splits["train"] = Split(train.images, stratified(train.rows, train.images.labels, subset, seed, option)[1])
        return self.image_options.load(splits, classes, subset)

    @property
    def images(self) -> LoadedImages:
        """The images of every split, loaded at the first access."""
        self.setup()
        assert self._shared.images is not None
        return self._shared.images

    @property
    def classes(self) -> list[str]:
        """The classes' names in the order of the labels."""
        return self.images.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.images.classes)

    @property
    def in_channels(self) -> int:
        """Channels of every image."""
        return self.images.in_channels

    @property
    def image_size(self) -> int:
        """Height of every image in pixels; its width too, unless the source's images are not square."""
        return self.images.image_size

    @property
    def num_train(self) -> int:
        """Images in the training split."""
        return len(self.images.splits["train"].split.rows)

    @property
    def largest_batch(self) -> int:
        """Samples in the largest batch of any split."""
        return max(self.batch_size, self._options["eval_batch_size"] or 0)

    def indices(self, split: str) -> Tensor:
        """The index of every image of a split: its position in the source, int64 (N,)."""
        return self.images.splits[split].split.rows

    @property
    def random_views(self) -> bool:
        """Whether a training image looks different from epoch to epoch."""
        return self.image_options.random_views

    @property
    def mixes(self) -> str | None:
        """``"mixup=0.2"`` where training mixes samples, and a target is a distribution; else None."""
        return self.image_options.mixes

    @property
    def evaluation_batch_size(self) -> int:
        """Samples in a batch of validation and test."""
        return int(self._options["eval_batch_size"] or self.batch_size)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the data and of all that shapes a view but seed and batch size."""
        return self.images.fingerprint

    @property
    def in_memory(self) -> bool:
        """Whether the decoded images are kept in memory."""
        return self.images.splits["train"].pixels is not None

    @property
    def preprocess(self) -> Preprocess:
        """The evaluation transform of one image."""
        return self.images.preprocess

    def describe(self) -> dict[str, Any]:
        """What was trained and measured on, for the record of a run."""
        images, source = self.images, self._source()
        return {
            "classes": len(images.classes),
            "channels": images.in_channels,
            "image_size": images.image_size,
            "class_names": images.classes,
            "preprocess": self.preprocess.as_dict(),
            **{name: len(loaded.split.rows) for name, loaded in images.splits.items()},
            "carved": [name for name in ("val", "test") if getattr(source, name) is None],
            "in_memory": self.in_memory,
            "fingerprint": images.fingerprint,
        }

    def example(self, n: int = 2) -> Tensor:
        """The first ``n`` training images, normalised, for a dry forward: float32 (n, C, H, W)."""
        batch = self.dataset("train", train=False)[0, torch.arange(min(n, self.num_train))]
        if not isinstance(batch, tuple):
            raise UserError(batch.message if batch is not None else "the first training images cannot be read")
        return batch.inputs.cpu()

    def train_dataloader(self) -> ViewLoader:
        """Shuffled, augmented batches."""
        return self._loader("train")

    def val_dataloader(self) -> ViewLoader:
        """The validation split in order, without augmentation."""
        return self._loader("val")

    def test_dataloader(self) -> ViewLoader:
        """The test split in order, without augmentation."""
        return self._loader("test")

    def evaluation_loader(self, split: Literal["train", "val", "test"]) -> ViewLoader:
        """Any split in order, without augmentation; of val and test the same as their own loaders."""
        return self._loader(split, train=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """As Lightning does it; a batch that was made on the device is left alone."""
        if isinstance(batch, Batch) and batch.index.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def image(self, split: str, index: int) -> Image.Image | Tensor:
        """An image as its source has it, by its ``Batch.index``: a PIL image, or a tensor (C, H, W)."""
        return self.images.splits[split].split.images.image(index)

    def _loader(self, name: Literal["train", "val", "test"], train: bool | None = None) -> ViewLoader:
        train = name == "train" if train is None else train
        size = self.batch_size if train else self.evaluation_batch_size
        dataset = self.dataset(name, train)
        workers = self._options["num_workers"]
        if workers is None:
            workers = 0 if self.in_memory else max(1, usable_cores() - 1)
        sampler = ViewSampler(len(dataset), size, self.seed, shuffle=train, drop_last=train, device=dataset.device)
        return view_loader(dataset, sampler, workers)

    def _device(self, pixels: Tensor) -> torch.device:
        """Device of the batches: the trainer's if the images take at most a quarter of its memory.

        With num_workers set they are made on the host: a forked process cannot use CUDA.
        """
        strategy = getattr(self.trainer, "strategy", None)
        device = strategy.root_device if strategy is not None else pixels.device
        if device.type != "cuda" or self._options["num_workers"]:
            return pixels.device
        free, _ = torch.cuda.mem_get_info(device)
        return device if pixels.nbytes <= free / 4 else pixels.device

    def dataset(self, split: str, train: bool) -> MemoryDataset | FileDataset:
        """A split ("train", "val" or "test") as the loaders read it; ``train``: with random augmentation."""
        pixels = self.images.splits[split].pixels
        device = None if pixels is None else self._device(pixels)
        return self.images.dataset(split, train, self.seed, self._options["cycle"], device)
