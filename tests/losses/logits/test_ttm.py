import numpy as np
import pytest
import torch

from distill.losses.logits.kd import kd_loss
from distill.losses.logits.ttm import TTM, ttm_loss


def softmax(z):
    e = np.exp(np.asarray(z) - np.max(z))
    return e / e.sum()


def reference(s, t, gamma=0.1):
    """mean KL of the teacher's probabilities to the power gamma, over their sum, from the student's probabilities."""
    total = 0.0
    for z_s, z_t in zip(np.asarray(s), np.asarray(t), strict=True):
        p_s, power = softmax(z_s), softmax(z_t) ** gamma
        p_t = power / power.sum()
        total += (p_t * np.log(p_t / p_s)).sum()
    return total / len(s)


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype)


@pytest.fixture(params=[(1, 2), (8, 10), (3, 200)])
def pair(request):
    return logits(*request.param)


@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.5, 1.0, 2.0])
def test_equals_the_formula(pair, gamma):
    value = ttm_loss(*pair, gamma).item()
    assert value == pytest.approx(reference(*pair, gamma), rel=1e-9)
    assert TTM(gamma)(*pair).item() == value


def test_the_default_and_a_scheduled_exponent(pair):
    loss = TTM()
    assert loss(*pair).item() == ttm_loss(*pair).item() == pytest.approx(reference(*pair, 0.1), rel=1e-9)
    loss.gamma = 0.3
    assert loss(*pair).item() == pytest.approx(reference(*pair, 0.3), rel=1e-9)


def test_zero_where_the_student_is_as_smooth_as_the_target(pair):
    s, t = pair
    assert ttm_loss(0.2 * t + 7, t - 3, 0.2).item() == pytest.approx(0, abs=1e-12)
    assert ttm_loss(t, t, 0.2).item() > 0.1, "the temperature is the teacher's alone"
    assert ttm_loss(s, t, 1.0).item() == pytest.approx(kd_loss(s, t, 1.0).item(), rel=1e-9)


def test_gradient(pair):
    s, t = pair
    few = s[:, :20].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ttm_loss(x, t[:, :20], 0.3), few)
    s = s.clone().requires_grad_()
    ttm_loss(s, t, 0.3).backward()
    # eq. 20 of the paper: p_s minus the transformed teacher
    torch.testing.assert_close(s.grad, ((torch.softmax(s, 1) - torch.softmax(0.3 * t, 1)) / len(s)).detach())
