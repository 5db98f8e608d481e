"""How logits are stored: what comes back, and what it takes."""

import pytest
import torch

from distill.distillation.teacher_cache import Exact, Half, TopK

Z = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)) * 5


@pytest.mark.parametrize("codec", [Exact(50), Half(50), TopK(50, 8), TopK(40_000, 3)])
def test_bytes_are_those_of_what_is_stored(codec):
    z = torch.randn(4, codec.classes)
    assert sum(rows[0].numel() * rows.element_size() for rows in codec.encode(z).values()) == codec.bytes


def test_all_logits_come_back():
    assert torch.equal(Exact(50).decode(Exact(50).encode(Z)), Z)
    torch.testing.assert_close(Half(50).decode(Half(50).encode(Z)), Z, rtol=2**-11, atol=0)


def test_bfloat16_logits_come_back_exactly():
    z = Z.bfloat16()
    assert torch.equal(Half(50).decode(Half(50).encode(z)), z.float())


def test_rounding_twice_is_rounding_once():
    for codec in (Half(50), TopK(50, 8)):
        once = codec.decode(codec.encode(Z))
        torch.testing.assert_close(codec.decode(codec.encode(once)), once)


def test_the_largest_keep_their_probability_and_the_others_their_sum():
    p, q = Z.softmax(1), TopK(50, 8).decode(TopK(50, 8).encode(Z)).softmax(1)
    best = Z.topk(8).indices
    torch.testing.assert_close(q.gather(1, best), p.gather(1, best), rtol=1e-2, atol=1e-4)
    rest_p, rest_q = (x.scatter(1, best, 0.0) for x in (p, q))
    torch.testing.assert_close(rest_q.sum(1), rest_p.sum(1), rtol=1e-2, atol=1e-4)
    for row in rest_q:
        assert row[row > 0].unique().numel() == 1


def test_huge_logits_stay_finite():
    z = torch.tensor([[1e6, -1e6, 0.0]])
    assert torch.isfinite(Half(3).decode(Half(3).encode(z))).all()
    assert torch.isfinite(TopK(3, 1).decode(TopK(3, 1).encode(z))).all()
