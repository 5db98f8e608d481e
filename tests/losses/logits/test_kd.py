import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from distill.losses import KD, kd_loss


def reference(s, t, T):
    """T² · mean KL(softmax(t/T) ‖ softmax(s/T)), in float64 with scipy."""
    log_s, log_t = log_softmax(np.asarray(s) / T, axis=1), log_softmax(np.asarray(t) / T, axis=1)
    return T**2 * (np.exp(log_t) * (log_t - log_s)).sum(1).mean()


@pytest.fixture(params=[(1, 2), (8, 10), (3, 1000)])
def pair(request):
    torch.manual_seed(0)
    n, c = request.param
    return 3 * torch.randn(n, c, dtype=torch.float64), 3 * torch.randn(n, c, dtype=torch.float64)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 100.0])
def test_equals_the_formula(pair, T):
    s, t = pair
    assert kd_loss(s, t, T).item() == pytest.approx(reference(s, t, T), rel=1e-10)
    assert kd_loss(s, t, T, t_squared=False).item() == pytest.approx(reference(s, t, T) / T**2, rel=1e-10)
    assert KD(T)(s, t).item() == kd_loss(s, t, T).item()


def test_direction_is_teacher_to_student():
    s, t = torch.tensor([[0.0, 0.0]]), torch.tensor([[5.0, 0.0]])
    assert kd_loss(s, t, 1.0).item() == pytest.approx(reference(s, t, 1.0), rel=1e-5)
    assert kd_loss(s, t, 1.0).item() != pytest.approx(reference(t, s, 1.0), rel=1e-2)


def test_zero_at_equality_and_shift_invariant(pair):
    s, _ = pair
    assert kd_loss(s, s).item() == pytest.approx(0, abs=1e-12)
    assert kd_loss(s, s + 7).item() == pytest.approx(0, abs=1e-12)


def test_gradient(pair):
    s, t = pair
    few = s[:, :20].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kd_loss(x, t[:, :20], 3.0), few)
    s = s.clone().requires_grad_()
    kd_loss(s, t, 2.0).backward()
    # Hinton: d/dz_s = T · (softmax(z_s/T) − softmax(z_t/T)) / N, with T² in front of the divergence.
    expected = 2.0 * (torch.softmax(s / 2, 1) - torch.softmax(t / 2, 1)) / len(s)
    torch.testing.assert_close(s.grad, expected.detach())


def test_t_squared_keeps_the_gradients_scale():
    torch.manual_seed(0)
    s, t = torch.randn(64, 10, dtype=torch.float64), torch.randn(64, 10, dtype=torch.float64)

    def norm(T, t_squared):
        x = s.clone().requires_grad_()
        kd_loss(x, t, T, t_squared).backward()
        return x.grad.norm().item()

    assert norm(50, True) == pytest.approx(norm(25, True), rel=0.05)
    assert norm(50, False) == pytest.approx(norm(25, False) / 4, rel=0.05)


@pytest.mark.parametrize(("n", "c"), [(1, 2), (16, 10), (2, 22_000)])
def test_for_large_t_the_gradient_tends_to_that_of_centred_logits(n, c):
    """Hinton, eq. 4: (z_s − mean z_s − z_t + mean z_t) / C, the same for every large T."""
    torch.manual_seed(0)
    s, t = torch.randn(n, c, dtype=torch.float64), torch.randn(n, c, dtype=torch.float64)
    limit = (s - s.mean(1, keepdim=True) - t + t.mean(1, keepdim=True)) / (n * c)
    for T, rel in ((100, 0.05), (1e4, 5e-4)):
        x = s.clone().requires_grad_()
        kd_loss(x, t, T).backward()
        assert (x.grad - limit).norm() <= rel * limit.norm()


@pytest.mark.parametrize("c", [2, 100, 22_000])
@pytest.mark.parametrize("T", [0.5, 4.0, 100.0])
@pytest.mark.parametrize("scale", [1.0, 50.0])
@pytest.mark.parametrize("n", [1, 4])
def test_extremes_in_half_precision(n, c, T, scale):
    """The value loses T² times the rounding of ln C (at T = 100, 0.03), the gradient nothing."""
    torch.manual_seed(0)
    s, t = (scale * torch.randn(n, c)).bfloat16(), (scale * torch.randn(n, c)).bfloat16()
    s[0, 0], t[0, 0] = 1000.0, -1000.0
    exact, low = s.double().requires_grad_(), s.requires_grad_()
    expected, value = kd_loss(exact, t.double(), T), kd_loss(low, t, T)
    expected.backward()
    value.backward()
    assert expected.item() == pytest.approx(reference(exact.detach(), t.double(), T), rel=1e-9)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4, abs=3e-6 * T**2)
    assert torch.isfinite(low.grad).all()
    assert (low.grad.double() - exact.grad).norm() <= 0.01 * exact.grad.norm()


def test_a_schedule_may_set_t(pair):
    loss = KD()
    assert loss(*pair).item() == pytest.approx(reference(*pair, 4.0), rel=1e-10)
    loss.T = 2.5
    assert loss(*pair).item() == pytest.approx(reference(*pair, 2.5), rel=1e-10)


def test_half_precision_is_computed_in_float32(pair):
    s, t = pair
    low = kd_loss(s.bfloat16(), t.bfloat16())
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(reference(s.bfloat16().double(), t.bfloat16().double(), 4.0), rel=1e-3, abs=1e-6)
