"""Packed rows: which documents share one, where positions restart, what is a target."""

import torch
from hypothesis import given, strategies as st

from distill.data.text.encoded import offsets_of
from distill.data.text.packing import best_fit, pack


def packed(lengths, max_length, learnt=None):
    """Documents whose tokens are 100 · (document + 1) + place."""
    ids = torch.cat([100 * (i + 1) + torch.arange(n) for i, n in enumerate(lengths)]).int()
    mask = torch.ones(len(ids), dtype=torch.bool) if learnt is None else torch.tensor(learnt)
    return pack(ids, mask, offsets_of(torch.tensor(lengths).numpy()), max_length)


def test_a_row_holds_documents_with_positions_of_their_own_and_no_target_across():
    rows = packed([5, 3], 8)
    inputs, target = rows.batch(torch.tensor([0]), pad_id=0, max_length=8)
    assert inputs["input_ids"].tolist() == [[100, 101, 102, 103, 104, 200, 201, 202]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
    assert target.tolist() == [[101, 102, 103, 104, -100, 201, 202, -100]]
    assert rows.documents_of(0) == [0, 1]


def test_padding_is_no_target_and_counts_its_own_positions():
    inputs, target = packed([3], 16).batch(torch.tensor([0]), pad_id=7, max_length=16)
    assert inputs["input_ids"].tolist() == [[100, 101, 102, 7, 7, 7, 7, 7]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2, 3, 4]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert target.tolist() == [[101, 102, -100, -100, -100, -100, -100, -100]]


def test_a_longer_document_is_split_and_each_piece_begins_anew():
    rows = packed([10], 4)
    assert rows.lengths.tolist() == [4, 4, 2]
    inputs, target = rows.batch(torch.arange(3), pad_id=0, max_length=4)
    assert inputs["position_ids"][1].tolist() == [0, 1, 2, 3]
    assert target[1].tolist() == [105, 106, 107, -100]


def test_a_piece_without_a_target_is_left_out():
    rows = packed([6, 1], 3, learnt=[True] * 3 + [False] * 3 + [True])
    assert len(rows) == 1
    assert rows.ids.tolist() == [100, 101, 102]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_every_piece_is_in_one_bin_and_no_bin_is_too_full(lengths):
    bins = best_fit(lengths, 20)
    assert sorted(piece for each in bins for piece in each) == list(range(len(lengths)))
    assert all(sum(lengths[piece] for piece in each) <= 20 for each in bins)
    assert len(bins) <= 1 + 11 / 9 * (-(-sum(lengths) // 20)) + sum(n > 10 for n in lengths)
