"""DataLoader over datasets of whole batches, resumable in mid-epoch."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from distill.data.batch import Batch
from distill.data.sampler import Key, ViewSampler
from distill.utils.errors import UserError


@dataclass(frozen=True)
class Failure:
    """Returned by a worker in place of a batch, so that the main process raises the error as one line."""

    message: str


class BatchDataset(Protocol):
    """A dataset whose items are whole batches: an epoch and the samples' positions in, a finished batch out."""

    @property
    def device(self) -> torch.device:
        """Device of the batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Key) -> Batch | Failure | None: ...


class ViewLoader(DataLoader[Batch]):
    """A DataLoader whose sampler gives whole batches and whose workers' failures are one-line UserErrors.

    Its state is its position in the epoch; Lightning saves it in the checkpoint, and a run that was stopped in the
    middle of an epoch resumes with the next batch.

    Attributes:
        prefetch: called with every batch one step before the batch is yielded; None: not called.
        prefetch_s: seconds spent in ``prefetch``.
    """

    prefetch: Callable[[Batch], object] | None = None
    prefetch_s = 0.0
    _position = (0, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        epoch, start = self.sampler.epoch, self.sampler.start  # type: ignore[attr-defined]
        self._position = (epoch, start)
        for count, item in enumerate(self._prefetched(super().__iter__()), start=start + 1):
            if isinstance(item, Failure):
                self.close()
                raise UserError(item.message)
            self._position = (epoch, count)
            if item is not None:
                yield item

    def _prefetched(self, items: Iterator[Any]) -> Iterator[Any]:
        pending: list[Any] = []
        for item in items:
            if self.prefetch is None:
                yield item
                continue
            start = time.perf_counter()
            if isinstance(item, Batch):
                self.prefetch(item)
            self.prefetch_s += time.perf_counter() - start
            pending.append(item)
            if len(pending) > 1:
                yield pending.pop(0)
        yield from pending

    def state_dict(self) -> dict[str, int]:
        """The epoch, and the number of its batches that were yielded."""
        return dict(zip(("epoch", "batches"), self._position, strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume after that batch, in the next epoch if it was the last."""
        ended = state["batches"] >= len(self.sampler)  # type: ignore[arg-type]
        self.sampler.epoch = state["epoch"] + ended  # type: ignore[attr-defined]
        self.sampler.start = 0 if ended else state["batches"]  # type: ignore[attr-defined]

    def close(self) -> None:
        """Stop the workers now: left to the garbage collector, torch may wait 5 s for each."""
        if self.num_workers and self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


def identity_collate(batch: Any) -> Any:
    """The collate function for items that are batches already."""
    return batch


def view_loader(dataset: BatchDataset, sampler: ViewSampler, num_workers: int) -> ViewLoader:
    """A loader over ``dataset`` in the sampler's order; it draws nothing from torch's global generator."""
    host = dataset.device.type == "cpu"
    return ViewLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=None,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=identity_collate,
        persistent_workers=num_workers > 0,
        pin_memory=host and torch.cuda.is_available(),
        generator=torch.Generator(),
    )
