"""The order of an epoch, in batches that know their epoch."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from distill.data.rng import permutation
from distill.utils import distributed
from distill.utils.errors import UserError

Key = tuple[int, Tensor]


class ViewSampler(DistributedSampler[Key]):
    """Yields one key per batch: (epoch, positions in the split, int64).

    The order depends on (seed, epoch) only. ``batch_size`` is the global batch: each of W processes takes every
    W-th position of it. It is a ``DistributedSampler`` in name alone, so that Lightning leaves it in place when
    there are several processes.

    Args:
        num_samples: size of the split.
        batch_size: samples per optimizer step, over all processes together.
        seed: of the order.
        shuffle: False yields positions in order.
        drop_last: training. A last batch of one sample is dropped (BatchNorm fails on it), a longer one kept. False
            keeps every sample. A last batch in which a process would have no sample, in training fewer than two, joins
            the one before it: any number of processes sees the same samples.
        device: of the positions; None: the CPU.

    Attributes:
        epoch: see ``set_epoch``.
        start: batches to skip in the coming iteration only, for an exact resume in mid-epoch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        shuffle: bool,
        drop_last: bool,
        device: torch.device | None = None,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"batch_size must be at least 1, got {batch_size}")
        self.size = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.device = device
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the coming iterations; Lightning calls it before each."""
        if epoch != self.epoch:  # the one that was to be resumed had ended (trainer.limit_train_batches)
            self.start = 0
        self.epoch = epoch

    def _bounds(self, world: int) -> list[int]:
        """Where the batches begin, and the end of the last one."""
        bounds = [*range(0, self.size, self.batch_size), self.size]
        last = bounds[-1] - bounds[-2] if self.size else 0
        if len(bounds) > 2 and last < self.batch_size:
            if self.drop_last and last < 2:
                bounds.pop()
            elif last < (2 * world if self.drop_last else world):
                bounds.pop(-2)
        return bounds

    def __len__(self) -> int:
        return len(self._bounds(distributed.rank_and_world_size()[1])) - 1

    def __iter__(self) -> Iterator[Key]:
        rank, world = distributed.rank_and_world_size()
        if self.drop_last and self.batch_size < world:
            raise UserError(f"batch_size is the global batch: {self.batch_size} is less than the {world} processes")
        epoch, start, self.start = self.epoch, self.start, 0
        order = permutation(self.size, self.seed, epoch) if self.shuffle else torch.arange(self.size)
        order, bounds = order.to(self.device or "cpu"), self._bounds(world)
        for begin, end in list(pairwise(bounds))[start:]:
            yield epoch, order[begin:end][rank::world]
