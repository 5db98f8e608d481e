import math

import numpy as np
import pytest
import torch

from distill.losses.relations.crd import CRDInBatch, crd_inbatch_loss

N, D_S, D_T, DIM = 6, 5, 4, 3


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def projected(head, x):
    return unit(x.detach().numpy() @ head.weight.detach().numpy().T + head.bias.detach().numpy())


def reference_inbatch(s, t, target, tau):
    s, t, total = unit(s), unit(t), 0.0
    for n in range(len(s)):
        for anchor, others in ((s[n], t), (t[n], s)):
            weights = [math.exp(anchor @ others[m] / tau) for m in range(len(s)) if m == n or target[m] != target[n]]
            total -= math.log(math.exp(anchor @ others[n] / tau) / sum(weights)) / 2
    return total / len(s)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(7, 5, dtype=torch.float64), 2 * torch.randn(7, 5, dtype=torch.float64), torch.arange(7) % 3


@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_inbatch_equals_the_formula(pair, tau):
    s, t, target = pair
    expected = reference_inbatch(s.numpy(), t.numpy(), target.tolist(), tau)
    assert crd_inbatch_loss(s, t, target, tau).item() == pytest.approx(expected, rel=1e-9)
    assert crd_inbatch_loss(t, s, target, tau).item() == pytest.approx(expected, rel=1e-9)


def test_inbatch_through_its_heads():
    torch.manual_seed(0)
    loss = CRDInBatch(dim=DIM, tau=0.3, gather=True)
    loss.build((N, D_S), (N, D_T))
    s, t, target = torch.randn(N, D_S), torch.randn(N, D_T), torch.arange(N) % 3
    expected = reference_inbatch(projected(loss.student_head, s), projected(loss.teacher_head, t), target.tolist(), 0.3)
    assert loss(s, t, target).item() == pytest.approx(expected, rel=1e-5)
    loss(s, t, target).backward()
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())


def test_inbatch_invariant_to_rotation_and_lengths(pair):
    s, t, target = pair
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    lengths = torch.rand(7, 1, dtype=torch.float64) + 0.1
    expected = crd_inbatch_loss(s, t, target).item()
    assert crd_inbatch_loss(lengths * s @ rotation, t @ rotation, target).item() == pytest.approx(expected, rel=1e-9)
    assert crd_inbatch_loss(s @ rotation, t, target).item() != pytest.approx(expected, rel=1e-3)


def test_inbatch_gradient(pair):
    s, t, target = pair
    assert torch.autograd.gradcheck(lambda x: crd_inbatch_loss(x, t, target, 0.5), s.requires_grad_())


def test_inbatch_without_negatives_is_zero(pair):
    s, t, target = pair
    assert crd_inbatch_loss(s, t, torch.zeros_like(target)).item() == 0
    one = s[:1].clone().requires_grad_()
    value = crd_inbatch_loss(one, t[:1], target[:1])
    value.backward()
    assert value.item() == 0
    assert one.grad.abs().sum() == 0


def test_inbatch_extremes():
    """Zero embeddings, and a τ so small that e^{1 / τ} overflows."""
    s = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1e4, -1.0]], requires_grad=True)
    value = crd_inbatch_loss(s, torch.randn(3, 2), torch.arange(3), tau=0.005)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(s.grad).all()


def test_inbatch_half_precision_and_autocast(pair):
    s, t, target = pair
    value = crd_inbatch_loss(s.bfloat16(), t.bfloat16(), target)
    assert value.dtype == torch.float32
    rounded = crd_inbatch_loss(s.bfloat16().double(), t.bfloat16().double(), target)
    assert value.item() == pytest.approx(rounded.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = crd_inbatch_loss(s.float(), t.float(), target)
    assert found.item() == pytest.approx(crd_inbatch_loss(s, t, target).item(), rel=1e-5)


def test_inbatch_bad_values(pair):
    s, t, target = pair
    for wrong in (target[:1], target[:, None], target[0]):
        with pytest.raises(ValueError, match=r"target must have shape \(7,\), one value per sample"):
            crd_inbatch_loss(s, t, wrong)
    with pytest.raises(ValueError, match="tau must be a finite number above 0, got 0"):
        CRDInBatch(tau=0)
    with pytest.raises(ValueError, match="tau must be a finite number above 0, got -1"):
        crd_inbatch_loss(s, t, target, tau=-1)
    with pytest.raises(ValueError, match=r"got \(7, 5\) and \(7, 4\)"):
        crd_inbatch_loss(s, t[:, :4], target)
    with pytest.raises(ValueError, match=r"student_embedding must have shape \(N, D\)"):
        CRDInBatch().build((2, 3, 4), (2, 3))


def test_inbatch_compiles_into_one_graph(pair):
    graph = torch.compile(crd_inbatch_loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(graph(*pair), crd_inbatch_loss(*pair))
    loss = CRDInBatch(dim=DIM, gather=True)
    loss.build((N, D_S), (N, D_T))
    values = torch.randn(N, D_S), torch.randn(N, D_T), torch.arange(N) % 3
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(*values), loss(*values))
