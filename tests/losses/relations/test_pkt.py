import math

import numpy as np
import pytest
import torch

from distill.losses.relations.pkt import PKT, pkt_loss


def reference(s, t, eps=1e-7):
    def probabilities(e):
        n = len(e)
        p = np.zeros((n, n))
        for i in range(n):
            for j in range(n):
                p[i, j] = (e[i] @ e[j] / (np.linalg.norm(e[i]) * np.linalg.norm(e[j])) + 1) / 2
            p[i] /= p[i].sum()
        return p

    p_s, p_t = probabilities(s), probabilities(t)
    n = len(s)
    return sum(
        p_t[i, j] * math.log((p_t[i, j] + eps) / (p_s[i, j] + eps)) for i in range(n) for j in range(n)
    ) / (n * n)  # fmt: skip


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(7, 5, dtype=torch.float64), 2 * torch.randn(7, 3, dtype=torch.float64)


def test_equals_the_formula(pair):
    s, t = pair
    assert pkt_loss(s, t).item() == pytest.approx(reference(s.numpy(), t.numpy()), rel=1e-9)
    assert PKT()(s, t) == pkt_loss(s, t)
    assert pkt_loss(s, t).item() > 1e-4
    assert pkt_loss(s, t).item() != pytest.approx(pkt_loss(t, s).item(), rel=1e-2)  # a divergence has a direction


def test_worked_by_hand():
    """Two samples at a right angle (rows 2/3, 1/3) against two alike (rows ½, ½)."""
    right, alike = torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    expected = (2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)) / 2
    assert pkt_loss(alike, right).item() == pytest.approx(expected, rel=1e-5)


def test_invariant_to_rotation_and_lengths(pair):
    s, t = pair
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    lengths = torch.rand(7, 1, dtype=torch.float64) + 0.1
    assert pkt_loss(lengths * s @ rotation, t).item() == pytest.approx(pkt_loss(s, t).item(), rel=1e-9)
    assert pkt_loss(lengths * s @ rotation, s).item() == pytest.approx(0, abs=1e-12)
    assert pkt_loss(s + 1, t).item() != pytest.approx(pkt_loss(s, t).item(), rel=1e-2)


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: pkt_loss(x, t), s.requires_grad_())


def test_degenerate_embeddings_give_finite_gradients():
    """Zero vectors (a dead ReLU) and opposite ones, whose similarity is 0."""
    s = torch.tensor([[0.0, 0.0], [1.0, 2.0], [-1.0, -2.0], [1e4, 0.0]], requires_grad=True)
    for t in (torch.randn(4, 3), torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), torch.zeros(4, 2)):
        s.grad = None
        loss = pkt_loss(s, t)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(s.grad).all()


def test_half_precision_and_autocast(pair):
    s, t = pair
    value = pkt_loss(s.bfloat16(), t.bfloat16())
    assert value.dtype == torch.float32
    rounded = pkt_loss(s.bfloat16().double(), t.bfloat16().double())
    assert value.item() == pytest.approx(rounded.item(), rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        found = pkt_loss(s.float(), t.float())
    assert found.item() == pytest.approx(pkt_loss(s, t).item(), rel=1e-4)


def test_small_and_wrong_batches():
    one = torch.ones(1, 4, requires_grad=True)
    PKT()(one, torch.ones(1, 4)).backward()
    assert one.grad.abs().sum() == 0
    with pytest.raises(ValueError, match="at least 2 samples in a batch, got 1"):
        pkt_loss(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="same samples, got 3 and 4"):
        pkt_loss(torch.ones(3, 2), torch.ones(4, 2))
