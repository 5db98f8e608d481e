import numpy as np
import pytest
import torch

from distill.losses.logits.tfkd import TfKD, tfkd_loss


def softmax(z):
    e = np.exp(np.asarray(z) - np.max(z))
    return e / e.sum()


def reference(s, target, a=0.99, T=20.0):
    """T² · mean KL(p_d^(1/T) / Σ ‖ softmax(s / T)), p_d = a on the right class, the rest shared by the others."""
    total = 0.0
    for z, y in zip(np.asarray(s), np.asarray(target), strict=True):
        designed = np.full(len(z), (1 - a) / (len(z) - 1))
        designed[y] = a
        p = designed ** (1 / T)
        p /= p.sum()
        total += (p * np.log(p / softmax(z / T))).sum()
    return T**2 * total / len(s)


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), torch.randint(c, (n,))


@pytest.fixture(params=[(1, 2), (8, 10), (3, 1000)])
def batch(request):
    return logits(*request.param)


@pytest.mark.parametrize("T", [0.5, 1.0, 20.0, 100.0])
@pytest.mark.parametrize("a", [0.3, 0.99])
def test_equals_the_formula(batch, T, a):
    value = tfkd_loss(*batch, a, T).item()
    assert value == pytest.approx(reference(*batch, a, T), rel=1e-7)
    assert tfkd_loss(*batch, a, T, t_squared=False).item() == pytest.approx(value / T**2, rel=1e-12)
    assert TfKD(a, T)(*batch).item() == value


def test_defaults_are_the_papers_and_settings_may_follow_a_schedule(batch):
    loss = TfKD()
    assert loss(*batch).item() == tfkd_loss(*batch).item() == pytest.approx(reference(*batch), rel=1e-7)
    loss.a, loss.T, loss.t_squared = 0.9, 5.0, False
    assert loss(*batch).item() == pytest.approx(reference(*batch, 0.9, 5.0) / 25, rel=1e-7)


def test_it_is_a_soft_loss_that_needs_no_teacher():
    assert TfKD.is_soft_target is True


def test_zero_for_the_designed_answer():
    _, target = logits(8, 10)
    designed = torch.full((8, 10), 0.01 / 9, dtype=torch.float64).scatter(1, target[:, None], 0.99)
    assert tfkd_loss(designed.log() + 7, target).item() == pytest.approx(0, abs=1e-10)
    assert tfkd_loss(designed.log(), (target + 1) % 10).item() > 1


def test_the_softened_teacher_is_not_uniform():
    """Fig. 3 of the paper shows 10 classes at T = 20; the softmax of probabilities over 20 would give 0.105."""
    z = torch.zeros(1, 10, dtype=torch.float64, requires_grad=True)
    tfkd_loss(z, torch.tensor([3]), t_squared=False).backward()
    right = 0.1 - 20 * z.grad[0, 3].item()  # d/dz = (softmax(z / T) − p) / T
    assert right == pytest.approx(0.135, abs=0.001)


def test_t_squared_keeps_the_gradients_scale(batch):
    """For large T the gradient tends to (centred logits − centred ln p_d) / (N · C)."""
    s, target = batch
    n, c = s.shape
    designed = torch.full((n, c), 0.01 / (c - 1), dtype=torch.float64).scatter(1, target[:, None], 0.99).log()
    limit = (s - s.mean(1, keepdim=True) - designed + designed.mean(1, keepdim=True)) / (n * c)
    x = s.clone().requires_grad_()
    tfkd_loss(x, target, T=1e5).backward()
    torch.testing.assert_close(x.grad, limit, rtol=1e-2, atol=1e-4 / (n * c))


def test_gradient(batch):
    s, target = batch[0][:, :12], batch[1] % 12
    assert torch.autograd.gradcheck(lambda x: tfkd_loss(x, target % x.shape[1], 0.9, 3.0), s.clone().requires_grad_())


@pytest.mark.parametrize("c", [2, 100, 22_000])
@pytest.mark.parametrize("T", [0.5, 20.0, 100.0])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_half_precision_and_extremes(c, T, scale):
    """The value loses T² times the rounding of sums over C (at T = 100, up to 0.3 by the CPU), the gradient nothing."""
    s, target = logits(4, c, scale, torch.bfloat16)
    exact, low = s.double().requires_grad_(), s.requires_grad_()
    expected, value = tfkd_loss(exact, target, T=T), tfkd_loss(low, target, T=T)
    expected.backward()
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=1e-4, abs=(4e-5 if c == 22_000 else 5e-6) * T**2)
    assert torch.isfinite(low.grad).all()
    assert (low.grad.double() - exact.grad).norm() <= 0.01 * exact.grad.norm()


def test_bad_values():
    for make in (TfKD, lambda **given: tfkd_loss(*logits(2, 3), **given)):
        for a in (0, 1, 1.5, float("nan")):
            with pytest.raises(ValueError, match=f"a must lie between 0 and 1, got {a}"):
                make(a=a)


def test_bad_shapes():
    target = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"at least 2 classes, got \(2, 3, 4\)"):
        tfkd_loss(torch.zeros(2, 3, 4), target)
