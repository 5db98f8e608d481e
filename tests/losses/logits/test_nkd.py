import numpy as np
import pytest
import torch

from distill.losses.logits.nkd import NKD, nkd_loss


def softmax(z):
    e = np.exp(np.asarray(z) - np.max(z))
    return e / e.sum()


def reference(s, t, target, gamma=1.5, T=1.0):
    """mean [−p_t(y) ln p_s(y) + gamma · T² · cross-entropy of the others renormalised], sample by sample."""
    total = 0.0
    for z_s, z_t, y in zip(np.asarray(s), np.asarray(t), np.asarray(target), strict=True):
        total -= softmax(z_t)[y] * np.log(softmax(z_s)[y])
        rest_s, rest_t = np.delete(softmax(z_s / T), y), np.delete(softmax(z_t / T), y)
        rest_s, rest_t = rest_s / rest_s.sum(), rest_t / rest_t.sum()
        total -= gamma * T**2 * sum(a * np.log(b) for a, b in zip(rest_t, rest_s, strict=True))
    return total / len(s)


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype), torch.randint(c, (n,))


@pytest.fixture(params=[(1, 2), (8, 10), (3, 200)])
def batch(request):
    return logits(*request.param)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 100.0])
@pytest.mark.parametrize("gamma", [0.0, 1.5])
def test_equals_the_formula(batch, T, gamma):
    value = nkd_loss(*batch, gamma, T).item()
    assert value == pytest.approx(reference(*batch, gamma, T), rel=1e-9)
    assert NKD(gamma, T)(*batch).item() == value


def test_defaults_are_the_papers_and_settings_may_follow_a_schedule(batch):
    loss = NKD()
    assert loss(*batch).item() == nkd_loss(*batch).item() == pytest.approx(reference(*batch), rel=1e-9)
    loss.gamma, loss.T = 0.5, 2.0
    assert loss(*batch).item() == pytest.approx(reference(*batch, 0.5, 2.0), rel=1e-9)


def test_the_least_value():
    """The other classes: their teacher's entropy, at equality. The right class: 0, at certainty."""
    s, t, target = logits(8, 10)

    def others(x):
        return (nkd_loss(x, t, target, 1.0) - nkd_loss(x, t, target, 0.0)).item()

    entropy = 0.0
    for z, y in zip(t.numpy(), target.numpy(), strict=True):
        rest = np.delete(softmax(z), y)
        rest = rest / rest.sum()
        entropy -= (rest * np.log(rest)).sum() / 8
    assert others(t) == pytest.approx(entropy, rel=1e-9)
    assert others(s) > entropy + 0.1
    assert others(t + 100 * torch.nn.functional.one_hot(target, 10)) == pytest.approx(entropy, rel=1e-9)
    sure = 200.0 * torch.nn.functional.one_hot(target, 10)
    assert nkd_loss(sure, t, target, 0.0).item() == pytest.approx(0, abs=1e-12)


def test_the_right_class_is_weighed_by_the_teachers_confidence_at_temperature_1():
    z, target = torch.zeros(1, 4), torch.tensor([2])
    right, wrong = torch.tensor([[0.0, 0, 30, 0]]), torch.tensor([[30.0, 0, 0, 0]])
    for T in (1.0, 7.0):
        assert nkd_loss(z, right, target, 0.0, T).item() == pytest.approx(np.log(4), rel=1e-6)
        assert nkd_loss(z, wrong, target, 0.0, T).item() == pytest.approx(0, abs=1e-6)


def test_shift_invariant_and_mean_over_the_batch(batch):
    s, t, target = batch
    value = nkd_loss(s, t, target).item()
    assert nkd_loss(s + 7, t - 3, target).item() == pytest.approx(value, rel=1e-9)
    twice = nkd_loss(torch.cat([s, s]), torch.cat([t, t]), torch.cat([target, target]))
    assert twice.item() == pytest.approx(value, rel=1e-12)


def test_gradient(batch):
    s, t, target = (x[:, :12] if x.dim() == 2 else x % 12 for x in batch)
    assert torch.autograd.gradcheck(lambda x: nkd_loss(x, t, target, 1.5, 3.0), s.clone().requires_grad_())
