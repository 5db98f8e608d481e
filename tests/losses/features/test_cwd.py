import numpy as np
import pytest
import torch
from scipy.special import softmax

from distill.distillation.terms import Term, argument_setter
from distill.losses.features.cwd import CWD, CWDFeature, cwd_loss


def reference(s, t, T):
    """T² / (N·C) Σ KL over places, in loops."""
    s, t, total = np.asarray(s), np.asarray(t), 0.0
    for n in range(s.shape[0]):
        for c in range(s.shape[1]):
            q, p = softmax(s[n, c].flatten() / T), softmax(t[n, c].flatten() / T)
            total += (p * np.log(p / q)).sum()
    return T**2 * total / (s.shape[0] * s.shape[1])


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 6, dtype=torch.float64), 2 * torch.randn(2, 3, 4, 6, dtype=torch.float64)


@pytest.mark.parametrize("T", [1.0, 4.0])
def test_equals_the_formula(pair, T):
    assert cwd_loss(*pair, T).item() == pytest.approx(reference(*pair, T), rel=1e-10)
    assert CWD(T)(*pair).item() == cwd_loss(*pair, T).item()


def test_a_constant_of_each_channel_changes_nothing(pair):
    s, t = pair
    assert cwd_loss(s + torch.tensor([5.0, -2.0, 9.0])[:, None, None], t).item() == pytest.approx(cwd_loss(s, t).item())
    assert cwd_loss(t, t).item() == pytest.approx(0, abs=1e-12)


def test_the_larger_map_is_pooled(pair):
    s, t = pair
    pooled = torch.nn.functional.avg_pool2d(t, 2)
    assert cwd_loss(s[..., :2, :3], t).item() == pytest.approx(cwd_loss(s[..., :2, :3], pooled).item())


def test_features_go_through_an_adapter(pair):
    s = pair[0].float()
    loss = CWDFeature()
    loss.build((2, 3, 4, 6), (2, 5, 2, 3))
    value = loss(s, torch.randn(2, 5, 2, 3))
    value.backward()
    assert sum(parameter.grad.abs().sum() for parameter in loss.adapter.parameters()) > 0


def test_errors(pair):
    s, t = pair
    with pytest.raises(ValueError, match="as many channels"):
        cwd_loss(s, t[:, :2])
    with pytest.raises(ValueError, match="task=segmentation"):
        CWD().build((4, 10), (4, 10))
    with pytest.raises(ValueError, match="T"):
        CWD(T=0)


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: cwd_loss(x, t), s.clone().requires_grad_())


def test_its_temperature_follows_a_schedule():
    loss = CWD()
    argument_setter(Term("x", loss), loss, "T")(2.0)
    assert loss.T == 2.0
