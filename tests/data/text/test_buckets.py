from itertools import pairwise

import pytest
import torch
from hypothesis import given, strategies as st

from distill.data.text.buckets import LengthSampler
from distill.utils.errors import UserError
from properties import EXAMPLES


def sampler(lengths, batch_size=4, seed=0, shuffle=True, drop_last=True, epoch=0, pool=50):
    each = LengthSampler(torch.tensor(lengths), batch_size, seed, shuffle, drop_last, pool)
    each.set_epoch(epoch)
    return each


def batches(each):
    return [positions.tolist() for _, positions in each]


def world(monkeypatch, rank, size):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: rank)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: size)


LENGTHS = [(i * 37) % 101 for i in range(200)]


@EXAMPLES
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=120),
    batch_size=st.integers(1, 9),
    pool=st.integers(1, 6),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_each_sample_comes_once_and_batches_are_of_like_length(lengths, batch_size, pool, seed, epoch, shuffle):
    each = sampler(lengths, batch_size, seed, shuffle, shuffle, epoch, pool)
    found = batches(each)
    assert found == batches(sampler(lengths, batch_size, seed, shuffle, shuffle, epoch, pool))
    assert len(found) == len(each)
    seen = [position for batch in found for position in batch]
    assert len(set(seen)) == len(seen)
    single = shuffle and batch_size > 1 and len(lengths) > 1 and len(lengths) % batch_size == 1
    assert len(seen) == len(lengths) - single
    for batch in found:
        assert [lengths[p] for p in batch] == sorted(lengths[p] for p in batch)
    if pool * batch_size >= len(lengths):  # all sorted together: batches do not overlap
        spans = sorted((lengths[batch[0]], lengths[batch[-1]]) for batch in found)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_the_order_is_of_seed_and_epoch_alone():
    orders = {tuple(map(tuple, batches(sampler(LENGTHS, seed=s, epoch=e)))) for s in range(3) for e in range(3)}
    assert len(orders) == 9
    compositions = {frozenset(frozenset(batch) for batch in order) for order in orders}
    assert len(compositions) == 9  # not only the order of the batches


def test_little_is_padding():
    found = batches(sampler(LENGTHS, batch_size=4))
    waste = sum(max(LENGTHS[p] for p in batch) - LENGTHS[p] for batch in found for p in batch)
    assert waste < 0.1 * sum(LENGTHS)
    assert len({len(batch) for batch in found}) == 1
    firsts = [LENGTHS[batch[0]] for batch in found]
    assert firsts != sorted(firsts)  # the batches are shuffled


def test_batches_are_of_one_pool():
    lengths = [1] * 40
    pools = [{*batch} for batch in batches(sampler(lengths, batch_size=2, pool=5))]
    order = batches(LengthSampler(torch.tensor(lengths), 10, 0, True, True, 1))
    assert all(any(batch <= {*pool} for pool in order) for batch in pools)


def test_an_evaluation_has_batches_of_like_length_in_one_random_order():
    found = batches(sampler(LENGTHS, shuffle=False, drop_last=False))
    lengths = [[LENGTHS[p] for p in batch] for batch in found]
    assert [length for batch in sorted(lengths) for length in batch] == sorted(LENGTHS)
    assert lengths != sorted(lengths)
    assert found == batches(sampler(LENGTHS, shuffle=False, drop_last=False, seed=5))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("n", [200, 201, 199, 9])
@pytest.mark.parametrize("drop_last", [True, False])
def test_processes_share_each_batch(monkeypatch, size, n, drop_last):
    lengths = LENGTHS[:n]
    alone = batches(sampler(lengths, batch_size=8, shuffle=drop_last, drop_last=drop_last))
    ranks = []
    for rank in range(size):
        world(monkeypatch, rank, size)
        ranks.append(batches(sampler(lengths, batch_size=8, shuffle=drop_last, drop_last=drop_last)))
    shares = list(zip(*ranks, strict=True))
    assert all(all(share) for share in shares)
    together = sorted(p for share in shares for part in share for p in part)
    assert together == sorted(p for batch in alone for p in batch)
    if n % 8 == 0:
        assert [list(parts) for parts in shares] == [[batch[r::size] for r in range(size)] for batch in alone]
    loads = [[sum(lengths[p] for p in part) for part in share] for share in shares]
    assert all(max(load) - min(load) <= max(lengths) for load in loads)


def test_start_skips_once():
    whole = batches(sampler(LENGTHS))
    each = sampler(LENGTHS)
    each.start = 7
    assert batches(each) == whole[7:]
    assert batches(each) == whole


def test_a_batch_holds_a_sample_for_each_process(monkeypatch):
    world(monkeypatch, 0, 3)
    with pytest.raises(UserError, match="2 is less than the 3 processes"):
        batches(sampler(LENGTHS, batch_size=2))
