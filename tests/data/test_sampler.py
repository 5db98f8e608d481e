import pytest
import torch

from distill.data import ViewSampler
from distill.utils.errors import UserError


def keys(sampler):
    return [(epoch, positions.tolist()) for epoch, positions in sampler]


def world(monkeypatch, rank, size):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: size)


@pytest.mark.parametrize(("n", "batches"), [(8, [4, 4]), (9, [4, 4]), (10, [4, 4, 2]), (1, [1]), (3, [3])])
def test_training_drops_a_last_batch_of_one(n, batches):
    sampler = ViewSampler(n, 4, 0, shuffle=True, drop_last=True)
    assert [len(positions) for _, positions in keys(sampler)] == batches
    assert len(sampler) == len(batches)


def test_evaluation_keeps_everything_in_order():
    sampler = ViewSampler(9, 4, 0, shuffle=False, drop_last=False)
    assert keys(sampler) == [(0, [0, 1, 2, 3]), (0, [4, 5, 6, 7]), (0, [8])]
    assert len(sampler) == 3


def test_the_order_is_of_seed_and_epoch_alone():
    def order(batch_size, seed, epoch):
        sampler = ViewSampler(100, batch_size, seed, shuffle=True, drop_last=True)
        sampler.set_epoch(epoch)
        order = keys(sampler)
        assert {e for e, _ in order} == {epoch}
        return [p for _, positions in order for p in positions]

    assert order(10, 0, 0) == order(25, 0, 0)
    assert sorted(order(10, 0, 0)) == list(range(100))
    assert order(10, 0, 0) != order(10, 0, 1)
    assert order(10, 0, 0) != order(10, 1, 0)


def test_start_skips_once_and_leaves_the_length():
    sampler = ViewSampler(20, 4, 0, shuffle=True, drop_last=True)
    whole = keys(sampler)
    sampler.start = 2
    assert len(sampler) == 5
    unused = iter(sampler)  # a DataLoader makes an iterator that it throws away
    assert keys(sampler) == whole[2:]
    assert sampler.start == 0
    assert keys(sampler) == whole
    del unused


def test_what_is_skipped_is_of_the_epoch_that_is_resumed():
    """With ``trainer.limit_train_batches`` an epoch has ended before its last batch."""
    sampler = ViewSampler(40, 10, seed=0, shuffle=True, drop_last=True)
    for epoch, batches in ((1, 4), (0, 2)):
        sampler.epoch, sampler.start = 0, 2
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == batches


@pytest.mark.parametrize("size", [2, 3])
def test_processes_share_each_batch(monkeypatch, size):
    sampler = ViewSampler(25, 8, 0, shuffle=True, drop_last=False)
    alone = keys(sampler)
    ranks = []
    for rank in range(size):
        world(monkeypatch, rank, size)
        assert len(sampler) == 3  # the 25th sample, too little for all, joins the batch before
        ranks.append(keys(sampler))
    for batch in range(2):
        shares = [rank[batch][1] for rank in ranks]
        assert shares == [alone[batch][1][r::size] for r in range(size)]
    assert sorted(p for rank in ranks for _, positions in rank for p in positions) == list(range(25))
    assert all(positions for rank in ranks for _, positions in rank)


@pytest.mark.parametrize(("n", "batches"), [(19, [8, 11]), (20, [8, 8, 4]), (17, [8, 8]), (3, [3])])
def test_training_processes_get_two_samples_of_every_batch(monkeypatch, n, batches):
    alone = sorted(p for _, positions in keys(ViewSampler(n, 8, 0, shuffle=True, drop_last=True)) for p in positions)
    shares = []
    for rank in range(2):
        world(monkeypatch, rank, 2)
        shares.append(keys(ViewSampler(n, 8, 0, shuffle=True, drop_last=True)))
    assert [len(one) + len(other) for (_, one), (_, other) in zip(*shares, strict=True)] == batches
    assert sorted(p for share in shares for _, positions in share for p in positions) == alone


def test_errors(monkeypatch):
    with pytest.raises(UserError, match="batch_size must be at least 1, got 0"):
        ViewSampler(4, 0, 0, shuffle=True, drop_last=True)
    world(monkeypatch, 0, 8)
    with pytest.raises(UserError, match="global batch: 4 is less than the 8 processes"):
        keys(ViewSampler(64, 4, 0, shuffle=True, drop_last=True))
