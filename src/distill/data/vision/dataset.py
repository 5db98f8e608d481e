"""Datasets of image batches: held in memory, or decoded by workers."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from distill.data.loader import Batch, Failure
from distill.data.rng import sample_seed, seeded, uniform
from distill.data.sampler import Key
from distill.data.splits import Split
from distill.data.vision.augment import Augment
from distill.data.vision.images import ImageSet
from distill.data.vision.masked import classes_of, fitted, planes, transformed
from distill.data.vision.mixing import Mixing
from distill.data.vision.pixels import BrokenImageError
from distill.data.vision.preprocess import Scaling
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

_CHUNK = 1 << 16  # samples whose random numbers are drawn together


@dataclass(frozen=True)
class BatchTransform:
    """What is done to a batch of decoded images.

    Args:
        scaling: the normalisation.
        augment: the batched augmentation; None for evaluation.
        mixing: mixup and CutMix; None: neither.
        seed: of the random numbers.
        cycle: the random numbers repeat after so many epochs; None: never.
    """

    scaling: Scaling
    augment: Augment | None
    mixing: Mixing | None
    seed: int
    cycle: int | None


class ImageDataset(Dataset[Batch | Failure | None]):
    """Turns (epoch, positions in the split) into a finished batch on ``device``."""

    def __init__(self, split: Split[ImageSet], transform: BatchTransform, device: torch.device | None = None) -> None:
        self.split = split
        self.batch_transform = transform
        self._rows = split.rows.to(device or "cpu")
        self._labels = split.dataset.labels.to(device or "cpu")

    def __getitem__(self, key: Key) -> Batch | Failure | None:
        epoch, positions = key
        cycle, mixing = self.batch_transform.cycle, self.batch_transform.mixing
        epoch = epoch % cycle if cycle else epoch
        try:
            images, kept, masks = self._augmented(epoch, positions.to(self._rows.device))
            if not len(kept):
                return None
            index = self._rows[kept]
            if masks is not None:
                return Batch(images, masks, index)
            if mixing is None:
                return Batch(images, self._labels[index], index)
            return self._mixed(mixing, images, kept, epoch)
        except (BrokenImageError, UserError) as error:
            return Failure(str(error))

    def _augmented(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Augmented, normalised images, the positions that could be read, and masks that had the same views."""
        images, kept = self.read(epoch, positions)
        augment = self.batch_transform.augment
        if augment is not None and len(kept):
            images = augment(images, self.draws(epoch, kept, Augment.columns))
        masks = None
        if self.split.dataset.masks is not None and len(kept):
            images, masks = images[:, :-1], classes_of(images[:, -1])
        return (self.batch_transform.scaling(images) if len(kept) else images), kept, masks

    def _mixed(self, mixing: Mixing, images: Tensor, kept: Tensor, epoch: int) -> Batch:
        """Mix every image with its partner's view in this epoch; without a readable partner it stays unmixed."""
        index = self._rows[kept]
        u = self.draws(epoch, kept, Augment.columns + mixing.columns)[:, Augment.columns :]
        partners = mixing.partners(u, len(self))
        others, readable, _ = self._augmented(epoch, partners)
        mask = torch.isin(partners, readable) if len(readable) < len(partners) else slice(None)
        lam, labels = torch.ones_like(u[:, 0]), self._labels[index]
        if len(readable):
            images[mask], lam[mask] = mixing(images[mask], others, u[mask])
        return Batch(images, mixing.target(labels, self._labels[self._rows[partners]], lam), index)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self._rows.device

    def draws(self, epoch: int, positions: Tensor, n: int) -> Tensor:
        """``n`` uniform numbers for the sample at each position, (B, n)."""
        return uniform(self.batch_transform.seed, epoch, self._rows[positions], n)

    def read(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The images (with the plane of their masks) before batched augmentation, and the positions that were read."""
        raise NotImplementedError


class MemoryDataset(ImageDataset):
    """Images decoded once: ``pixels[at]`` are the split's, (N, C, H, W)."""

    def __init__(self, split: Split[ImageSet], transform: BatchTransform, pixels: Tensor, at: Tensor) -> None:
        super().__init__(split, transform, pixels.device)
        self.pixels = pixels
        self.at = at
        self._epoch_draws: tuple[int, Tensor] | None = None

    def draws(self, epoch: int, positions: Tensor, n: int) -> Tensor:
        """One gather: an epoch's numbers are drawn at its start, which saves fifty operations per step."""
        if self._epoch_draws is None or self._epoch_draws[0] != epoch:
            mixing = self.batch_transform.mixing
            columns = Augment.columns + (mixing.columns if mixing is not None else 0)
            seed = self.batch_transform.seed
            chunks = [uniform(seed, epoch, rows, columns) for rows in torch.split(self._rows, _CHUNK)]
            self._epoch_draws = epoch, torch.cat(chunks)
        return self._epoch_draws[1][positions, :n]

    def read(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002, D102
        return self.pixels[self.at[positions]], positions


class FileDataset(ImageDataset):
    """Images that are decoded in every epoch.

    Args:
        transform: of one image, with torch's, numpy's and Python's generators seeded from
            (seed, epoch, index); None: ``fit`` alone.
        size: side of the result; None: images as they are.
        shorter: see ``fit``.
        skip: leave broken images out, with a warning, instead of failing.
    """

    def __init__(
        self,
        split: Split[ImageSet],
        batch_transform: BatchTransform,
        transform: Callable[[Any], Any] | None,
        size: int | None,
        shorter: int | None,
        skip: bool,
    ) -> None:
        super().__init__(split, batch_transform)
        self.transform = transform
        self.size = size
        self.shorter = shorter
        self.skip = skip

    def read(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        images, kept = [], []
        for position in positions.tolist():
            row = int(self.split.rows[position])
            try:
                images.append(self._transformed(self._decoded(row), epoch, row))
                kept.append(position)
            except BrokenImageError as error:
                if not self.skip:
                    raise
                log.warning("skipped: %s", error)
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            advice = "set data.image_size" if self.transform is None else "end data.transform with a crop to one size"
            raise BrokenImageError(f"one batch has images of the shapes {sorted(shapes)}: {advice}")
        return torch.stack(images) if images else torch.empty(0), torch.tensor(kept, dtype=torch.int64)

    def _decoded(self, row: int) -> Any:
        return self.split.dataset.item(row, getattr(self.transform, "at_least", None))

    def _transformed(self, item: Any, epoch: int, row: int) -> Tensor:
        if self.transform is not None:
            with seeded(sample_seed(self.batch_transform.seed, epoch, row)):
                item = transformed(item, self.transform)
        elif self.size is not None:
            item = fitted(item, self.size, self.shorter)
        return planes(item)
