import numpy as np
import pytest
import torch

from distill.losses.logits.ttm import ttm_loss
from distill.losses.logits.wttm import WTTM, wttm_loss


def softmax(z):
    e = np.exp(np.asarray(z) - np.max(z))
    return e / e.sum()


def reference(s, t, gamma=0.1):
    """mean of U · KL(p_t^gamma / U ‖ p_s), U the sum of the teacher's probabilities to the power gamma."""
    total = 0.0
    for z_s, z_t in zip(np.asarray(s), np.asarray(t), strict=True):
        p_s, power = softmax(z_s), softmax(z_t) ** gamma
        weight = power.sum()
        total += weight * (power / weight * np.log(power / weight / p_s)).sum()
    return total / len(s)


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype)


@pytest.fixture(params=[(1, 2), (8, 10), (3, 200)])
def pair(request):
    return logits(*request.param)


@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.5, 1.0, 2.0])
def test_equals_the_formula(pair, gamma):
    value = wttm_loss(*pair, gamma).item()
    assert value == pytest.approx(reference(*pair, gamma), rel=1e-9)
    assert WTTM(gamma)(*pair).item() == value


def test_the_default_and_a_scheduled_exponent(pair):
    loss = WTTM()
    assert loss(*pair).item() == wttm_loss(*pair).item() == pytest.approx(reference(*pair, 0.1), rel=1e-9)
    loss.gamma = 0.3
    assert loss(*pair).item() == pytest.approx(reference(*pair, 0.3), rel=1e-9)


def test_the_weight_of_a_sample_runs_from_1_to_c_to_the_1_minus_gamma():
    student = torch.linspace(-1, 1, 8, dtype=torch.float64)[None]
    sure = torch.full((1, 8), -1e4, dtype=torch.float64)
    sure[0, 3] = 0
    for teacher, weight in ((sure, 1.0), (torch.zeros(1, 8, dtype=torch.float64), 8**0.7)):
        expected = weight * ttm_loss(student, teacher, 0.3).item()
        assert wttm_loss(student, teacher, 0.3).item() == pytest.approx(expected, rel=1e-12)


def test_the_mean_is_over_samples_not_over_weights():
    s, t = logits(8, 10)
    alone = [wttm_loss(s[i : i + 1], t[i : i + 1]).item() for i in range(8)]
    assert wttm_loss(s, t).item() == pytest.approx(np.mean(alone), rel=1e-12)
    assert wttm_loss(s, t, 1.0).item() == pytest.approx(ttm_loss(s, t, 1.0).item(), rel=1e-9), "all weights are 1"


def test_zero_where_the_student_is_as_smooth_as_the_target(pair):
    _, t = pair
    assert wttm_loss(0.2 * t + 7, t - 3, 0.2).item() == pytest.approx(0, abs=1e-11)


def test_gradient(pair):
    s, t = (x[:, :20] for x in pair)
    assert torch.autograd.gradcheck(lambda x: wttm_loss(x, t, 0.3), s.clone().requires_grad_())
