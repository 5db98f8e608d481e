"""From a sampler's keys to batches: images held in memory, or decoded by workers."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distill.data.batch import Batch
from distill.data.rng import sample_seed, seeded, uniform
from distill.data.sampler import Key, ViewSampler
from distill.data.splits import Split
from distill.data.vision.augment import BatchAugment, fit
from distill.data.vision.images import BrokenImageError, to_tensor
from distill.data.vision.mixing import Mixing
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

AT_ONCE = 1 << 16  # samples whose numbers are drawn together


@dataclass(frozen=True)
class Scaling:
    """Pixels to what a model takes: (x/255 − mean)/std for uint8, (x − mean)/std for float; per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise (B, C, H, W) to float32."""
        unit = 1 / 255 if images.dtype == torch.uint8 else 1.0
        mean, std = self._constants(images.device)
        return images.to(torch.float32).mul_(unit / std).sub_(mean / std)

    @lru_cache(maxsize=4)  # noqa: B019 - a few devices, and as long as the data
    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (C, 1, 1), copied to a device once."""
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True)
class Failure:
    """What a worker returns in place of a batch, so that the main process raises the error with its one line."""

    message: str


class Views(Dataset[Batch | Failure | None]):
    """Turns a key into a finished batch.

    Args:
        scaling: the normalisation.
        augment: the batched augmentation; None for evaluation views.
        seed: of the views.
        cycle: views repeat after so many epochs; None: never.
        mixing: of two views; None: there is none.
        device: where the batches are made.
    """

    def __init__(
        self,
        part: Split,
        scaling: Scaling,
        augment: BatchAugment | None,
        seed: int,
        cycle: int | None = None,
        mixing: Mixing | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.part = part
        self.scaling = scaling
        self.augment = augment
        self.seed = seed
        self.cycle = cycle
        self.mixing = mixing
        self._rows = part.rows.to(device or "cpu")
        self._labels = part.images.labels.to(device or "cpu")

    def __getitem__(self, key: Key) -> Batch | Failure | None:
        epoch, positions = key
        epoch = epoch % self.cycle if self.cycle else epoch
        try:
            images, kept = self._seen(epoch, positions.to(self._rows.device))
            if not len(kept):
                return None
            index = self._rows[kept]
            if self.mixing is None:
                return Batch(images, self._labels[index], index)
            return self._mixed(self.mixing, images, kept, epoch)
        except BrokenImageError as error:
            return Failure(str(error))

    def _seen(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Views, normalised, and the positions that could be read."""
        images, kept = self.read(epoch, positions)
        if self.augment is not None and len(kept):
            images = self.augment(images, self.draws(epoch, kept, BatchAugment.columns))
        return (self.scaling(images) if len(kept) else images), kept

    def _mixed(self, mixing: Mixing, images: Tensor, kept: Tensor, epoch: int) -> Batch:
        """Every view mixed with its partner's of this epoch; one whose partner cannot be read stays as it is."""
        index = self._rows[kept]
        u = self.draws(epoch, kept, BatchAugment.columns + mixing.columns)[:, BatchAugment.columns :]
        partners = mixing.partners(u, len(self))
        others, found = self._seen(epoch, partners)
        there = torch.isin(partners, found) if len(found) < len(partners) else slice(None)
        share, labels = torch.ones_like(u[:, 0]), self._labels[index]
        if len(found):
            images[there], share[there] = mixing(images[there], others, u[there])
        return Batch(images, mixing.target(labels, self._labels[self._rows[partners]], share), index)

    def __len__(self) -> int:
        return len(self.part.rows)

    @property
    def device(self) -> torch.device:
        """Where the batches are made."""
        return self._rows.device

    def draws(self, epoch: int, positions: Tensor, n: int) -> Tensor:
        """``n`` uniform numbers for the view of each position, (B, n)."""
        return uniform(self.seed, epoch, self._rows[positions], n)

    def read(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The images before batched augmentation, and the positions that could be read."""
        raise NotImplementedError


class MemoryViews(Views):
    """Views of decoded images: ``pixels[at]`` are the part's, (N, C, H, W)."""

    def __init__(
        self,
        part: Split,
        scaling: Scaling,
        augment: BatchAugment | None,
        seed: int,
        cycle: int | None,
        mixing: Mixing | None,
        pixels: Tensor,
        at: Tensor,
    ) -> None:
        super().__init__(part, scaling, augment, seed, cycle, mixing, pixels.device)
        self.pixels = pixels
        self.at = at
        self._drawn: tuple[int, Tensor] | None = None

    def draws(self, epoch: int, positions: Tensor, n: int) -> Tensor:
        """One gather; an epoch's numbers are all drawn as it begins: fifty operations less in every step."""
        if self._drawn is None or self._drawn[0] != epoch:
            most = BatchAugment.columns + (self.mixing.columns if self.mixing is not None else 0)
            parts = [uniform(self.seed, epoch, rows, most) for rows in torch.split(self._rows, AT_ONCE)]
            self._drawn = epoch, torch.cat(parts)
        return self._drawn[1][positions, :n]

    def read(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """One gather."""
        return self.pixels[self.at[positions]], positions


class FileViews(Views):
    """Views of images that are decoded each time.

    Args:
        transform: one image to its view, with torch's, numpy's and Python's generators seeded from
            (seed, epoch, index); None: ``fit`` alone.
        size: side of the result; None: images as they are.
        shorter: see ``fit``.
        skip: leave broken images out, with a warning, instead of failing.
    """

    def __init__(
        self,
        part: Split,
        scaling: Scaling,
        augment: BatchAugment | None,
        seed: int,
        cycle: int | None,
        mixing: Mixing | None,
        transform: Callable[[Any], Any] | None,
        size: int | None,
        shorter: int | None,
        skip: bool,
    ) -> None:
        super().__init__(part, scaling, augment, seed, cycle, mixing)
        self.transform = transform
        self.size = size
        self.shorter = shorter
        self.skip = skip

    def read(self, epoch: int, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Decode one by one."""
        images, kept = [], []
        for position in positions.tolist():
            row = int(self.part.rows[position])
            try:
                images.append(self._view(self._decoded(row), epoch, row))
                kept.append(position)
            except BrokenImageError as error:
                if not self.skip:
                    raise
                log.warning("skipped: %s", error)
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise BrokenImageError(f"one batch has images of the shapes {sorted(shapes)}: {self._advice()}")
        return torch.stack(images) if images else torch.empty(0), torch.tensor(kept, dtype=torch.int64)

    def _decoded(self, row: int) -> Image.Image | Tensor:
        at_least = getattr(self.transform, "at_least", None)
        return self.part.images.image(row) if at_least is None else self.part.images.reduced(row, at_least)

    def _view(self, image: Image.Image | Tensor, epoch: int, row: int) -> Tensor:
        if self.transform is not None:
            with seeded(sample_seed(self.seed, epoch, row)):
                image = self.transform(image)
            if not isinstance(image, Image.Image | Tensor):
                raise BrokenImageError(f"data.transform must return an image or a tensor, got {type(image).__name__}")
        elif self.size is not None:
            image = fit(image, self.size, self.shorter)
        return to_tensor(image)

    def _advice(self) -> str:
        return "end data.transform with a crop to one size" if self.transform is not None else "set data.image_size"


class ViewLoader(DataLoader[Batch]):
    """A DataLoader whose sampler gives whole batches and whose workers' failures are one-line UserErrors.

    Its state is what it has handed out; Lightning keeps it in the checkpoint, and a run that was stopped in the
    middle of an epoch goes on with the next batch.

    Attributes:
        ahead: is shown every batch one step before it is handed out; None: nobody wants to see it.
        ahead_s: seconds that this took.
    """

    prefetch: Callable[[Batch], object] | None = None
    ahead_s = 0.0
    _position = (0, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        epoch, start = self.sampler.epoch, self.sampler.start  # type: ignore[attr-defined]
        self._position = (epoch, start)
        for count, item in enumerate(self._shown_ahead(super().__iter__()), start=start + 1):
            if isinstance(item, Failure):
                self.close()
                raise UserError(item.message)
            self._position = (epoch, count)
            if item is not None:
                yield item

    def _shown_ahead(self, items: Iterator[Any]) -> Iterator[Any]:
        held: list[Any] = []
        for item in items:
            if self.prefetch is None:
                yield item
                continue
            begun = time.perf_counter()
            if isinstance(item, Batch):
                self.prefetch(item)
            self.ahead_s += time.perf_counter() - begun
            held.append(item)
            if len(held) > 1:
                yield held.pop(0)
        yield from held

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the batches of it that were handed out."""
        return dict(zip(("epoch", "batches"), self._position, strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that batch, in the next epoch if it was the last."""
        ended = state["batches"] >= len(self.sampler)  # type: ignore[arg-type]
        self.sampler.epoch = state["epoch"] + ended  # type: ignore[attr-defined]
        self.sampler.start = 0 if ended else state["batches"]  # type: ignore[attr-defined]

    def close(self) -> None:
        """Stop the workers now: left to the garbage collector, torch may wait 5 s for each."""
        if self.num_workers and self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


def as_it_is(batch: Any) -> Any:
    """A DataLoader's collate function for what is a batch already."""
    return batch


def view_loader(views: Views, sampler: ViewSampler, num_workers: int) -> ViewLoader:
    """A loader over ``views`` in the sampler's order; it draws nothing from torch's global generator."""
    host = views.device.type == "cpu"
    return ViewLoader(
        views,  # type: ignore[arg-type]
        batch_size=None,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=as_it_is,
        persistent_workers=num_workers > 0,
        pin_memory=host and torch.cuda.is_available(),
        generator=torch.Generator(),
    )
