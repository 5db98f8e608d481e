import numpy as np
import pytest
import torch

from distill.losses.logits.dkd import DKD, dkd_loss
from distill.losses.logits.kd import kd_loss


def softmax(z):
    e = np.exp(np.asarray(z) - np.max(z))
    return e / e.sum()


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def reference(s, t, target, alpha=1.0, beta=8.0, T=4.0):
    """T² · mean [alpha · KL of (right, rest) + beta · KL of the others renormalised], sample by sample."""
    total = 0.0
    for z_s, z_t, y in zip(np.asarray(s), np.asarray(t), np.asarray(target), strict=True):
        p_s, p_t = softmax(z_s / T), softmax(z_t / T)
        rest_s, rest_t = np.delete(p_s, y), np.delete(p_t, y)
        binary = kl((p_t[y], rest_t.sum()), (p_s[y], rest_s.sum()))
        total += alpha * binary + beta * kl(rest_t / rest_t.sum(), rest_s / rest_s.sum())
    return T**2 * total / len(s)


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype), torch.randint(c, (n,))


@pytest.fixture(params=[(1, 2), (8, 10), (3, 200)])
def batch(request):
    return logits(*request.param)


@pytest.mark.parametrize("T", [0.5, 1.0, 4.0, 100.0])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 8.0), (1.0, 0.0), (0.0, 2.0)])
def test_equals_the_formula(batch, T, alpha, beta):
    s, t, target = batch
    expected = reference(s, t, target, alpha, beta, T)
    assert dkd_loss(s, t, target, alpha, beta, T).item() == pytest.approx(expected, rel=1e-8, abs=1e-10)
    assert DKD(alpha, beta, T)(s, t, target).item() == dkd_loss(s, t, target, alpha, beta, T).item()


def test_defaults_are_the_papers_and_settings_may_follow_a_schedule(batch):
    loss = DKD()
    assert loss(*batch).item() == dkd_loss(*batch).item() == pytest.approx(reference(*batch), rel=1e-8)
    loss.alpha, loss.beta, loss.T = 0.5, 2.0, 3.0
    assert loss(*batch).item() == pytest.approx(reference(*batch, 0.5, 2.0, 3.0), rel=1e-8)


def test_kd_is_a_special_case(batch):
    """Per sample, KD is the binary part plus (1 − p_y of the teacher) times the other part."""
    s, t, target = batch
    for i in range(len(s)):
        row = s[i : i + 1], t[i : i + 1], target[i : i + 1]
        beta = 1 - torch.softmax(t[i] / 4, 0)[target[i]].item()
        assert dkd_loss(*row, 1.0, beta, 4.0).item() == pytest.approx(kd_loss(*row[:2], 4.0).item(), rel=1e-9)


def test_zero_at_equality_and_shift_invariant(batch):
    s, t, target = batch
    assert dkd_loss(s, s, target).item() == pytest.approx(0, abs=1e-12)
    value = dkd_loss(s, t, target).item()
    assert value > 0.01
    assert dkd_loss(s + 7, t - 3, target).item() == pytest.approx(value, rel=1e-9)


def test_each_part_sees_its_own():
    s, t, target = logits(8, 10)
    scaled = s.scatter_add(1, target[:, None], torch.full((8, 1), 5.0, dtype=torch.float64))
    assert dkd_loss(scaled, t, target, 0.0, 1.0).item() == pytest.approx(dkd_loss(s, t, target, 0.0, 1.0).item())
    assert dkd_loss(scaled, t, target, 1.0, 0.0).item() != pytest.approx(
        dkd_loss(s, t, target, 1.0, 0.0).item(), rel=0.01
    )
    assert dkd_loss(s[:, :2], t[:, :2], target % 2, 0.0, 8.0).item() == 0, "of two classes one is left"


def test_mean_over_the_batch():
    s, t, target = logits(8, 10)
    twice = dkd_loss(torch.cat([s, s]), torch.cat([t, t]), torch.cat([target, target]))
    assert twice.item() == pytest.approx(dkd_loss(s, t, target).item(), rel=1e-12)


def test_gradient(batch):
    s, t, target = (x[:, :12] if x.dim() == 2 else x % 12 for x in batch)
    assert torch.autograd.gradcheck(lambda x: dkd_loss(x, t, target, 1.0, 8.0, 3.0), s.clone().requires_grad_())
