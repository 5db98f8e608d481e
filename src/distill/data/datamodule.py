"""The DataModule of every kind of data: one source, loaded once, as training, validation and test batches."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from distill.data.loader import Batch, BatchDataset, Failure, ViewLoader, identity_collate
from distill.data.options import DataOptions
from distill.data.sampler import ViewSampler
from distill.data.splits import LabelledDataset, Split, Splits, as_splits, choose, split_dataset
from distill.data.targets import Targets, check_targets, counted, moments
from distill.utils.errors import UserError
from distill.utils.inputs import to_device
from distill.utils.processes import usable_cores

SplitName = Literal["train", "val", "test"]
Source = Callable[[], Any]  # returns Splits, one dataset, or an object with train, val, test and classes


@dataclass(frozen=True)
class LoadedData:
    """All splits of a source, loaded or checked.

    Attributes:
        splits: the rows that can be read, by split.
        classes: names of a model's outputs: classes, labels, or numbers.
        fingerprint: hex digest of the data and of all that shapes a view but seed and batch size.
        in_memory: whether the decoded samples are kept in memory.
    """

    splits: Mapping[str, Split[Any]]
    classes: list[str]
    fingerprint: str
    in_memory: bool


LoadedT = TypeVar("LoadedT", bound=LoadedData)


@dataclass
class _Shared:
    """What a DataModule shares with those made by its ``with_options``."""

    source: Splits | None = None
    loaded: Any = None


class DataModule(pl.LightningDataModule, ABC, Generic[LoadedT]):
    """Batches from a source, with every random choice a function of (seed, epoch, index).

    Validation is split off the training samples where the source has none; the test split is used for testing
    and nothing else. A subclass reads one kind of data (``as_dataset``, ``load``, ``dataset``).

    Args:
        source: returns ``Splits``, one dataset, or an object with train, val, test and classes.
        options: of splits and batches.

    Attributes:
        kind: what the samples are.
        as_dataset: reads one split of the source's, whose labels are ``targets``, as a dataset of this kind.
        random_views: whether a training sample looks different from epoch to epoch.
        mixes: ``"mixup=0.2"`` where training mixes samples, and a target is a distribution; else None.

    Raises:
        UserError: in ``setup``, for data that do not fit together.
    """

    kind: ClassVar[str] = "images"
    as_dataset: Callable[[Any, Targets], LabelledDataset]
    random_views: bool = False
    mixes: str | None = None

    def __init__(self, source: Source, options: DataOptions) -> None:
        super().__init__()
        if not callable(source):
            raise UserError(f"data.source must be a callable without arguments, got {type(source).__name__}")
        self.source = source
        self.options = options
        self._shared = _Shared()

    @abstractmethod
    def load(self, splits: dict[str, Split[Any]], classes: list[str]) -> LoadedT:
        """Read or check every split."""

    @abstractmethod
    def model_arguments(self, output: str) -> dict[str, Any]:
        """What a model's constructor is told of the data beside the number of outputs.

        Args:
            output: what a model of texts gives: "text" (one output per text), "tokens" or "embedding".
        """

    @property
    def chosen(self) -> dict[str, Any]:
        """The options by name that the data have decided where they were left open; null where they were not."""
        return {}

    @property
    def input_shape(self) -> list[int]:
        """The shape of one sample; of samples that differ, the largest one's."""
        return list(self.example(1).shape[1:])

    @property
    def described_shape(self) -> str:
        """The same in words."""
        return " x ".join(map(str, self.input_shape))

    @abstractmethod
    def dataset(self, split: SplitName, train: bool) -> BatchDataset:
        """A split as the loaders read it; ``train``: with random augmentation."""

    def with_options(
        self,
        *,
        seed: int | None = None,
        batch_size: int | None = None,
        eval_batch_size: int | None = None,
        cycle: int | None = None,
    ) -> Self:
        """The same data, loaded and split once for both, with another seed, batch size, …; None keeps the value."""
        other = copy(self)
        other.trainer = None
        options = {"seed": seed, "batch_size": batch_size, "eval_batch_size": eval_batch_size, "cycle": cycle}
        changes: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        other.options = replace(self.options, **changes)
        return other

    def prepare_data(self) -> None:
        """Read the source, which fetches what it needs; Lightning does so in one process before the others."""
        if self._shared.source is None:
            self._shared.source = as_splits(self.source(), lambda data: self.as_dataset(data, self.options.targets))

    def setup(self, stage: str | None = None) -> None:  # noqa: ARG002
        """Load, check and split; the second call does nothing."""
        if self._shared.loaded is not None:
            return
        self.prepare_data()
        options = self.options
        assert self._shared.source is not None
        source, classes = check_targets(self._shared.source, options.targets, options.for_training)
        if options.num_classes not in (None, len(classes)):
            have = counted(len(classes), options.targets)
            raise UserError(f"data.num_classes={options.num_classes}, but the data have {have}")
        by_class = options.targets == "classes"
        strata = classes if by_class else None
        splits = split_dataset(source, options.val_fraction, options.test_fraction, options.split_seed, strata)
        pool, subset = splits["train"].rows, options.subset
        if subset is not None and subset < len(pool):
            labels = source.train.labels if by_class else None
            _, rows = choose(pool, labels, subset, options.split_seed, f"data.subset={subset}")
            splits["train"] = Split(source.train, rows)
        self._shared.loaded = self.load(splits, classes)

    @property
    def loaded(self) -> LoadedT:
        """The data, loaded at the first access."""
        self.setup()
        loaded: LoadedT = self._shared.loaded
        return loaded

    @property
    def batch_size(self) -> int:
        """Samples in a training batch."""
        return self.options.batch_size

    @property
    def evaluation_batch_size(self) -> int:
        """Samples in a batch of validation and test."""
        return self.options.eval_batch_size or self.options.batch_size

    @property
    def seed(self) -> int:
        """Seed of the order and the augmentation."""
        return self.options.seed

    @property
    def classes(self) -> list[str]:
        """Names of a model's outputs: the classes in the order of the labels, the labels, or the numbers."""
        return self.loaded.classes

    @property
    def num_classes(self) -> int:
        """How many outputs there are."""
        return len(self.classes)

    @property
    def target_mean(self) -> tuple[float, ...] | None:
        """Mean of each number over the training samples; None where the targets are no numbers."""
        return self._moments[0] if self._moments else None

    @property
    def target_std(self) -> tuple[float, ...] | None:
        """Standard deviation likewise; 1 of a number that is constant."""
        return self._moments[1] if self._moments else None

    @property
    def _moments(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        train = self.loaded.splits["train"]
        return moments(train.dataset.labels[train.rows]) if self.options.targets == "numbers" else None

    @property
    def num_train(self) -> int:
        """Samples in the training split."""
        return len(self.indices("train"))

    @property
    def fingerprint(self) -> str:
        """Hex digest of the data and of all that shapes a view but seed and batch size."""
        return self.loaded.fingerprint

    def indices(self, split: str) -> Tensor:
        """The index of every sample of a split: its position in the source, int64 (N,)."""
        return self.loaded.splits[split].rows

    def show(self, split: str, index: int) -> Any:
        """A sample as its source has it, by its ``Batch.index``: a PIL image, a tensor (C, H, W), or a text."""
        raise TypeError(f"{type(self).__name__} has nothing to show of sample {index} of {split}")

    def file(self, split: str, index: int) -> str | None:
        """Where a sample comes from, by its ``Batch.index``; None where it is no file."""
        del split, index
        return None

    def describe(self) -> dict[str, Any]:
        """What was trained and measured on, for the record of a run."""
        return {
            "classes": self.num_classes,
            "class_names": self.classes,
            "targets": self.options.targets,
            "target_mean": self.target_mean,
            "target_std": self.target_std,
            **{name: len(split.rows) for name, split in self.loaded.splits.items()},
            "carved": [name for name in ("val", "test") if getattr(self._shared.source, name) is None],
            "in_memory": self.loaded.in_memory,
            "fingerprint": self.fingerprint,
        }

    @property
    def has_other_inputs(self) -> bool:
        """Whether the teacher's inputs are no renaming of the student's: another tokenizer made them."""
        return False

    def of_teacher(self) -> Self:
        """The same data with the teacher's inputs; here they are the student's."""
        return self

    def example(self, n: int = 2) -> Any:
        """The first ``n`` training inputs, for a dry forward; for images float32 (n, C, H, W), normalised."""
        batch = self.dataset("train", train=False)[0, torch.arange(min(n, self.num_train))]
        if batch is None or isinstance(batch, Failure):
            raise UserError(batch.message if batch is not None else "the first training samples cannot be read")
        return to_device(batch.inputs, "cpu")

    def train_dataloader(self) -> ViewLoader:
        """Shuffled, augmented batches."""
        return self._loader("train", train=True)

    def val_dataloader(self) -> ViewLoader:
        """The validation split in order, without augmentation."""
        return self._loader("val")

    def test_dataloader(self) -> ViewLoader:
        """The test split in order, without augmentation."""
        return self._loader("test")

    def evaluation_loader(self, split: SplitName) -> ViewLoader:
        """Any split in order, without augmentation; of val and test the same as their own loaders."""
        return self._loader(split)

    def _loader(self, split: SplitName, train: bool = False) -> ViewLoader:
        dataset = self.dataset(split, train)
        workers = self.options.num_workers
        if workers is None:
            workers = 0 if self.loaded.in_memory else max(1, usable_cores() - 1)
        return ViewLoader(
            dataset,  # type: ignore[arg-type]
            batch_size=None,
            sampler=self.sampler(dataset, self.batch_size if train else self.evaluation_batch_size, train),
            num_workers=workers,
            collate_fn=identity_collate,
            persistent_workers=workers > 0,
            pin_memory=dataset.device.type == "cpu" and torch.cuda.is_available(),
            generator=torch.Generator(),  # so that nothing is drawn from torch's global one
        )

    def sampler(self, dataset: BatchDataset, size: int, train: bool) -> ViewSampler:
        """The order of a split's batches of ``size`` samples."""
        return ViewSampler(len(dataset), size, self.seed, shuffle=train, drop_last=train, device=dataset.device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """As Lightning does it; a batch that was made on the device is left alone."""
        if isinstance(batch, Batch) and batch.index.device == device:
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
