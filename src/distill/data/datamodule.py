"""The DataModule: one source, loaded once, as training, validation and test batches."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import lightning.pytorch as pl
import torch
from PIL import Image
from torch import Tensor

from distill.data.batch import Batch
from distill.data.loader import FileViews, MemoryViews, Scaling, ViewLoader, view_loader
from distill.data.sampler import ViewSampler
from distill.data.splits import Split, Splits, as_splits, check_labels, split_dataset, stratified
from distill.data.vision.augment import Augment, BatchAugment, FileAugment
from distill.data.vision.load import Loaded, OnBroken, fingerprint, held, load, shape, statistics
from distill.data.vision.mixing import Mixing
from distill.data.vision.preprocess import Preprocess
from distill.utils.cpu import usable_cores
from distill.utils.errors import UserError

# ImageNet's statistics; for one channel, those of the three taken together.
_IMAGENET = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), 1: ((0.449,), (0.226,))}


@dataclass(frozen=True)
class _State:
    """What setup finds out."""

    splits: dict[str, Loaded]
    classes: list[str]
    in_channels: int
    image_size: int
    width: int
    scaling: Scaling
    fingerprint: str


@dataclass
class _Shared:
    """Loaded data, held in common by a DataModule and its ``with_options``."""

    source: Splits | None = None
    state: _State | None = None


class DataModule(pl.LightningDataModule):
    """Batches from a source of images, with every random choice a function of (seed, epoch, index).

    Validation is carved out of the training images where the source has none; the test split is used for testing
    and nothing else.

    Args:
        source: returns ``Splits``, one dataset, or an object with train, val, test and classes.
        batch_size: samples per optimizer step, over all processes together.
        seed: of the order and the views.
        val_fraction: share of the training images that becomes validation, 0 < f < 1; unused if the source has it.
        test_fraction: share of the images that becomes test, 0 < f < 1; unused if the source has it.
        split_seed: of the carving and of ``subset``.
        image_size: side in pixels to which images are resized and cropped; None: as they are (then of one size).
        in_memory: decode once and keep; None: where what has to be decoded takes at most ``memory_gb`` and neither
            ``augment.scale`` nor ``transform`` needs the files.
        memory_gb: limit of None above, in GB (10⁹ bytes).
        augment: the training views, as ``Augment`` or its keys; None: training sees evaluation views.
        transform: of a training image, before the rest of ``augment``: a callable on a PIL image (a tensor, where
            the source has tensors) that returns an image or a tensor of one size. A float tensor counts as 0..1,
            and all are normalised with ``mean`` and ``std`` afterwards. Its randomness must come from torch's,
            numpy's or Python's global generator.
        mean: per channel, for pixels in 0..1; None: of the training split in memory, else ImageNet's.
        std: likewise.
        num_workers: processes that decode; None: 0 in memory, else the usable cores minus one, at least 1.
        subset: train on so many images, chosen at random with each class in its proportion; None: on all.
        on_broken: what an unreadable image does: "error", or "skip" with a logged warning.
        num_classes: checked against the data's; None: not checked.
        eval_batch_size: None: ``batch_size``.
        cycle: training views repeat after so many epochs (their order does not); None: never.

    Raises:
        UserError: for a value out of range; in ``setup``, for data that do not fit together.
    """

    def __init__(
        self,
        source: Callable[[], Any],
        batch_size: int,
        seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.2,
        split_seed: int = 0,
        image_size: int | None = None,
        in_memory: bool | None = None,
        memory_gb: float = 2.0,
        augment: Augment | Mapping[str, Any] | None = None,
        transform: Callable[[Any], Any] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        num_workers: int | None = None,
        subset: int | None = None,
        on_broken: OnBroken = "error",
        num_classes: int | None = None,
        eval_batch_size: int | None = None,
        cycle: int | None = None,
    ) -> None:
        super().__init__()
        self._options = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if not callable(source):
            raise UserError(f"data.source must be a callable without arguments, got {type(source).__name__}")
        at_least = {"batch_size": (batch_size, 1), "eval_batch_size": (eval_batch_size, 1), "subset": (subset, 2)}
        at_least |= {"image_size": (image_size, 1), "num_workers": (num_workers, 0)}
        at_least |= {"num_classes": (num_classes, 2), "cycle": (cycle, 1)}
        for name, (given, low) in at_least.items():
            if given is not None and (not isinstance(given, int) or given < low):
                raise UserError(f"data.{name} must be a whole number, {low} or more, got {given!r}")
        for name, fraction in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
            if not 0 < fraction < 1:
                raise UserError(f"data.{name} must lie between 0 and 1, both excluded, got {fraction}")
        if on_broken not in get_args(OnBroken):
            raise UserError(f"data.on_broken must be error or skip, got {on_broken!r}")
        if std is not None and min(std) <= 0:
            raise UserError(f"data.std must be positive, got {list(std)}")
        self._augment = augment if isinstance(augment, Augment) else Augment(**(augment or {}))
        if transform is not None and self._augment.scale is not None:
            raise UserError("data.transform takes the place of data.augment.scale: set data.augment.scale=null with it")
        from_files = [n for n, v in (("augment.scale", self._augment.scale), ("transform", transform)) if v is not None]
        if in_memory and from_files:
            raise UserError(f"data.in_memory=true keeps one view of each image, so data.{from_files[0]} must be null")
        if self._augment.scale is not None and image_size is None:
            raise UserError("data.augment.scale crops to data.image_size pixels: set data.image_size")
        self._may_hold = not from_files
        self.batch_size = batch_size
        self.seed = seed
        self._shared = _Shared()

    def with_options(
        self,
        *,
        seed: int | None = None,
        batch_size: int | None = None,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        cycle: int | None = None,
    ) -> "DataModule":
        """The same data, loaded once for both, in other orders, views or batches; None keeps what it was."""
        given = {"seed": seed, "batch_size": batch_size, "eval_batch_size": eval_batch_size}
        given |= {"num_workers": num_workers, "cycle": cycle}
        other = type(self)(**{**self._options, **{name: value for name, value in given.items() if value is not None}})
        other._shared = self._shared
        return other

    # Loading

    def prepare_data(self) -> None:
        """Fetch what the source needs; Lightning calls it on one process before the others set up."""
        self._source()

    def _source(self) -> Splits:
        if self._shared.source is None:
            self._shared.source = as_splits(self._options["source"]())
        return self._shared.source

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Load, check and split; the second call does nothing."""
        if self._shared.state is None:
            self._shared.state = self._load()

    def _load(self) -> _State:
        o = self._options
        source = self._source()
        classes = check_labels(source)
        if o["num_classes"] not in (None, len(classes)):
            raise UserError(f"data.num_classes={o['num_classes']}, but the data have {len(classes)} classes")
        parts = split_dataset(source, o["val_fraction"], o["test_fraction"], o["split_seed"], classes)
        parts["train"] = self._chosen(parts["train"])
        channels, height, width = _common_shape(parts, o["image_size"], o["on_broken"])
        memory = self._fits(parts, channels * height * width)
        splits = {
            name: load(part, name, (height, width), o["image_size"], memory, o["on_broken"])
            for name, part in parts.items()
        }
        scaling = self._scaling(splits["train"], channels)
        settings = [asdict(self._augment), scaling, o["image_size"], o["subset"], _stable_repr(o["transform"])]
        return _State(splits, classes, channels, height, width, scaling, fingerprint(splits, settings))

    def _chosen(self, part: Split) -> Split:
        subset = self._options["subset"]
        if subset is None or subset >= len(part.rows):
            return part
        seed = self._options["split_seed"]
        _, rows = stratified(part.rows, part.images.labels, subset, seed, f"data.subset={subset}")
        return Split(part.images, rows)

    def _fits(self, parts: dict[str, Split], size: int) -> bool:
        if not self._may_hold or self._options["in_memory"] is not None:
            return bool(self._options["in_memory"])
        decoded = [part for part in parts.values() if not held(part.images, self._options["image_size"])]
        needed = sum(len(part.rows) * _bytes_per_value(part) for part in decoded) * size
        return needed <= float(self._options["memory_gb"]) * 1e9

    def _scaling(self, train: Loaded, channels: int) -> Scaling:
        given = {"mean": self._options["mean"], "std": self._options["std"]}
        if None in given.values():
            if train.pixels is not None:
                found = statistics(train)
            elif channels in _IMAGENET:
                found = _IMAGENET[channels]
            else:
                raise UserError(f"data.mean and data.std must be given for images of {channels} channels in files")
            given = {name: found[i] if given[name] is None else given[name] for i, name in enumerate(given)}
        for name, values in given.items():
            if len(values) != channels:
                raise UserError(f"data.{name} has {len(values)} values, but the images have {channels} channels")
        return Scaling(*(tuple(float(value) for value in values) for values in given.values()))

    # What setup found

    @property
    def _state(self) -> _State:
        self.setup()
        assert self._shared.state is not None
        return self._shared.state

    @property
    def classes(self) -> list[str]:
        """The classes' names in the order of the labels."""
        return self._state.classes

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._state.classes)

    @property
    def in_channels(self) -> int:
        """Channels of every image."""
        return self._state.in_channels

    @property
    def image_size(self) -> int:
        """Height of every image in pixels; its width too, unless the source's images are not square."""
        return self._state.image_size

    @property
    def num_train(self) -> int:
        """Images in the training split."""
        return len(self._state.splits["train"].part.rows)

    @property
    def largest_batch(self) -> int:
        """Samples in the largest batch of any split."""
        return max(self.batch_size, self._options["eval_batch_size"] or 0)

    def indices(self, split: str) -> Tensor:
        """The index of every image of a split: its position in the source, int64 (N,)."""
        return self._state.splits[split].part.rows

    @property
    def random_views(self) -> bool:
        """Whether a training image looks different from epoch to epoch."""
        augment = self._augment
        chosen = (augment.crop_padding, augment.flip, augment.cutout, augment.scale, self._options["transform"])
        return any(chosen) or self.mixes is not None

    @property
    def mixes(self) -> str | None:
        """``"mixup=0.2"`` where training mixes samples, and a target is a distribution; else None."""
        chosen = {"mixup": self._augment.mixup, "cutmix": self._augment.cutmix}
        return " and ".join(f"{name}={alpha:g}" for name, alpha in chosen.items() if alpha) or None

    @property
    def evaluation_batch_size(self) -> int:
        """Samples in a batch of validation and test."""
        return int(self._options["eval_batch_size"] or self.batch_size)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the data and of all that shapes a view but seed and batch size."""
        return self._state.fingerprint

    @property
    def in_memory(self) -> bool:
        """Whether the images are held decoded."""
        return self._state.splits["train"].pixels is not None

    @property
    def preprocess(self) -> Preprocess:
        """The evaluation view of one image, by itself."""
        state = self._state
        resize = self._shorter or (state.image_size if state.image_size == state.width else None)
        scaling = state.scaling
        return Preprocess(state.in_channels, state.image_size, state.width, resize, scaling.mean, scaling.std)

    @property
    def _shorter(self) -> int | None:
        """The shorter side of an evaluation view before the central square is cut out; None: nothing is resized."""
        size: int | None = self._options["image_size"]
        return round(size / 0.875) if size is not None and self._augment.scale is not None else size

    def describe(self) -> dict[str, Any]:
        """What was trained and measured on, for the record of a run."""
        state, source = self._state, self._source()
        return {
            "classes": len(state.classes),
            "channels": state.in_channels,
            "image_size": state.image_size,
            "class_names": state.classes,
            "preprocess": self.preprocess.as_dict(),
            **{name: len(loaded.part.rows) for name, loaded in state.splits.items()},
            "carved": [name for name in ("val", "test") if getattr(source, name) is None],
            "in_memory": self.in_memory,
            "fingerprint": state.fingerprint,
        }

    def example(self, n: int = 2) -> Tensor:
        """The first ``n`` training images, normalised, for a dry forward: float32 (n, C, H, W)."""
        batch = self.views("train", train=False)[0, torch.arange(min(n, self.num_train))]
        if not isinstance(batch, tuple):
            raise UserError(batch.message if batch is not None else "the first training images cannot be read")
        return batch.inputs.cpu()

    # Loaders

    def train_dataloader(self) -> ViewLoader:
        """Shuffled, augmented batches."""
        return self._loader("train")

    def val_dataloader(self) -> ViewLoader:
        """The validation split in order, without random views."""
        return self._loader("val")

    def test_dataloader(self) -> ViewLoader:
        """The test split in order, without random views."""
        return self._loader("test")

    def evaluation_loader(self, split: Literal["train", "val", "test"]) -> ViewLoader:
        """Any split in order, without random views; of val and test the same as their own loaders."""
        return self._loader(split, train=False)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """As Lightning does it; a batch that was made on the device is left alone."""
        if isinstance(batch, Batch) and batch.index.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def image(self, split: str, index: int) -> Image.Image | Tensor:
        """An image as its source has it, by what ``Batch.index`` says of it: a PIL image, or a tensor (C, H, W)."""
        return self._state.splits[split].part.images.image(index)

    def _loader(self, name: Literal["train", "val", "test"], train: bool | None = None) -> ViewLoader:
        train = name == "train" if train is None else train
        size = self.batch_size if train else self.evaluation_batch_size
        views = self.views(name, train)
        workers = self._options["num_workers"]
        if workers is None:
            workers = 0 if self.in_memory else max(1, usable_cores() - 1)
        sampler = ViewSampler(len(views), size, self.seed, shuffle=train, drop_last=train, device=views.device)
        return view_loader(views, sampler, workers)

    def _device(self, pixels: Tensor) -> torch.device:
        """Where batches are made: on the training's device if the images take at most a quarter of its memory.

        Workers, which somebody asked for, make them on the host: a forked process cannot use CUDA.
        """
        strategy = getattr(self.trainer, "strategy", None)
        device = strategy.root_device if strategy is not None else pixels.device
        if device.type != "cuda" or self._options["num_workers"]:
            return pixels.device
        free, _ = torch.cuda.mem_get_info(device)
        return device if pixels.nbytes <= free / 4 else pixels.device

    def views(self, name: str, train: bool) -> MemoryViews | FileViews:
        """The images of a split one by one, as the loaders batch them.

        Args:
            name: "train", "val" or "test".
            train: whether with random views.
        """
        o, state, augment = self._options, self._state, self._augment
        loaded = state.splits[name]
        batched = BatchAugment(augment.crop_padding, augment.flip, augment.cutout) if train else None
        mixing = Mixing(augment.mixup, augment.cutmix, self.num_classes) if train and self.mixes else None
        if loaded.pixels is not None:
            place = self._device(loaded.pixels)
            pixels, at = loaded.on(place)
            return MemoryViews(loaded.part, state.scaling, batched, self.seed, o["cycle"], mixing, pixels, at)
        transform, size, shorter = o["transform"], o["image_size"], self._shorter
        if augment.scale is not None:
            transform = FileAugment(size, augment.scale)
        skip = o["on_broken"] == "skip"
        return FileViews(
            loaded.part,
            state.scaling,
            batched,
            self.seed,
            o["cycle"],
            mixing,
            transform if train else None,
            size,
            shorter,
            skip,
        )


def _common_shape(parts: dict[str, Split], image_size: int | None, broken: OnBroken) -> tuple[int, int, int]:
    """(C, H, W) of the first training image that can be read."""
    part = parts["train"]
    for row in part.rows.tolist():
        try:
            found = shape(part.images, row, image_size)
            break
        except UserError:
            if broken == "error":
                raise
    else:
        raise UserError(f"none of the {len(part.rows)} images of the train split can be read")
    for name, other in parts.items():
        if other.images.channels not in (None, found[0]):
            raise UserError(f"train images have {found[0]} channels, {name} images {other.images.channels}")
    return found


def _bytes_per_value(part: Split) -> int:
    pixels = part.images.pixels
    return 1 if pixels is None or pixels.dtype == torch.uint8 else 4


def _stable_repr(transform: object) -> str:
    """A transform's repr without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(transform))
