"""The order of an epoch in batches of texts of like length."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from distill.data.rng import BATCHES, permutation
from distill.data.sampler import Key, ViewSampler
from distill.utils import distributed
from distill.utils.errors import UserError


class LengthSampler(ViewSampler):
    """As ``ViewSampler``, with batches of like length, so that little of them is padding.

    In training the shuffled samples are cut into pools of 50 batches, sorted by length within each, cut into batches,
    and these shuffled: which samples share a batch, and the order of the batches, depend on (seed, epoch) only, and
    each sample comes once per epoch. Without ``shuffle`` all samples are sorted together, and the order of the batches
    is always the same, a random one: the first few are no choice of the shortest texts.

    Args:
        lengths: tokens of each sample, int64 (N,).
        batch_size: as of ``ViewSampler``.
        seed: likewise.
        shuffle: likewise.
        drop_last: likewise.
        pool: batches whose samples are sorted together.
    """

    def __init__(
        self, lengths: Tensor, batch_size: int, seed: int, shuffle: bool, drop_last: bool, pool: int = 50
    ) -> None:
        super().__init__(len(lengths), batch_size, seed, shuffle, drop_last)
        self.lengths = lengths
        self.pool = pool

    def __iter__(self) -> Iterator[Key]:
        rank, world = distributed.rank_and_world_size()
        if self.drop_last and self.batch_size < world:
            raise UserError(f"batch_size is the global batch: {self.batch_size} is less than the {world} processes")
        epoch, start, self.start = self.epoch, self.start, 0
        bounds = self._bounds(world)
        batches = list(pairwise(bounds))
        if self.shuffle:
            order = permutation(self.size, self.seed, epoch)[: bounds[-1]]
            order = torch.cat([self._sorted(part) for part in torch.split(order, self.pool * self.batch_size)])
            batches = [batches[i] for i in permutation(len(batches), self.seed, epoch, BATCHES).tolist()]
        else:
            order = self._sorted(torch.arange(self.size))
            batches = [batches[i] for i in permutation(len(batches), 0, 0, BATCHES).tolist()]
        for begin, end in batches[start:]:
            yield epoch, order[begin:end][rank::world]

    def _sorted(self, rows: Tensor) -> Tensor:
        return rows[self.lengths[rows].argsort(stable=True)]
