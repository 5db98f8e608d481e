"""DataLoader over datasets of whole batches, resumable in mid-epoch."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from distill.data.sampler import Key, ViewSampler
from distill.utils.errors import UserError


class Batch(NamedTuple):
    """One batch, seen by teacher and student alike.

    Attributes:
        inputs: whatever the model takes; for images a float32 tensor (B, C, H, W), normalised; for texts a dict of
            ``input_ids``, ``attention_mask``, …, int64 (B, L).
        target: class numbers, int64 (B,); where mixup or CutMix mixes samples, class shares, float32 (B, C); of labels
            that may be several, 0 or 1, float32 (B, C); of numbers, float32 (B, K); without labels zeros, int64 (B,);
            of tokens, class numbers int64 (B, L), −100 where there is none; of pixels, uint8 (B, H, W), 255 where there
            is none.
        index: each sample's position in its source split, int64 (B,); the same in every run.
        teacher_inputs: what the teacher takes of the same samples; None: ``inputs``.
    """

    inputs: Any
    target: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs
    teacher_inputs: Any = None

    @property
    def for_teacher(self) -> Any:
        """The inputs of the teacher."""
        return self.inputs if self.teacher_inputs is None else self.teacher_inputs


@dataclass(frozen=True)
class Failure:
    """Returned by a worker in place of a batch, so that the main process raises the error as one line."""

    message: str


class BatchDataset(Protocol):
    """A dataset whose items are whole batches; an item of which no sample can be read is None."""

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

    sampler: ViewSampler
    prefetch: Callable[[Batch], object] | None = None
    prefetch_s = 0.0
    _position = (0, 0)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        epoch, start = self.sampler.epoch, self.sampler.start
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
        ended = state["batches"] >= len(self.sampler)
        self.sampler.epoch = state["epoch"] + ended
        self.sampler.start = 0 if ended else state["batches"]

    def close(self) -> None:
        """Stop the workers now: left to the garbage collector, torch may wait 5 s for each."""
        if self.num_workers and self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


def identity_collate(batch: Any) -> Any:
    """The collate function for items that are batches already."""
    return batch
