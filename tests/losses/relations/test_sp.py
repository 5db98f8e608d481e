import numpy as np
import pytest
import torch

from distill.losses.relations.sp import SP, sp_loss


def reference(s, t):
    def similarity(f):
        n = len(f)
        f = f.reshape(n, -1)
        g = np.array([[f[i] @ f[j] for j in range(n)] for i in range(n)])
        return np.array([row / np.sqrt((row**2).sum()) for row in g])

    return ((similarity(s) - similarity(t)) ** 2).sum() / len(s) ** 2


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(6, 5, 3, 3, dtype=torch.float64), 2 * torch.randn(6, 4, 2, 2, dtype=torch.float64)


def test_equals_the_formula(pair):
    s, t = pair
    assert sp_loss(s, t).item() == pytest.approx(reference(s.numpy(), t.numpy()), rel=1e-9)
    assert SP()(s, t) == sp_loss(s, t)
    assert sp_loss(s, t).item() == pytest.approx(sp_loss(t, s).item(), rel=1e-12)


def test_worked_by_hand():
    """Rows (1, 0), (0, 1) against (1, 1)/√2 twice: each entry differs by 1 − 1/√2 or 1/√2."""
    right, alike = torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    assert sp_loss(right, alike).item() == pytest.approx(((1 - 0.5**0.5) ** 2 + 0.5) / 2, rel=1e-12)


def test_invariant_to_rotation_and_scale(pair):
    s, t = pair
    rotation = torch.linalg.qr(torch.randn(45, 45, dtype=torch.float64))[0]
    turned = 3 * s.flatten(1) @ rotation
    assert sp_loss(turned, t).item() == pytest.approx(sp_loss(s, t).item(), rel=1e-9)
    assert sp_loss(turned, s).item() == pytest.approx(0, abs=1e-12)
    assert sp_loss(s, t).item() > 1e-3


def test_kinds_of_features_mix(pair):
    s, t = pair
    assert sp_loss(s, t.flatten(2).transpose(1, 2)).item() == pytest.approx(sp_loss(s, t).item(), rel=1e-12)
    assert sp_loss(s.flatten(1), t).item() == pytest.approx(sp_loss(s, t).item(), rel=1e-12)


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: sp_loss(x, t), s.requires_grad_())


def test_degenerate_features_give_finite_gradients():
    s = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1e4, 0.0]], requires_grad=True)
    for t in (torch.randn(3, 3), torch.zeros(3, 2)):
        s.grad = None
        loss = sp_loss(s, t)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(s.grad).all()


def test_half_precision_and_autocast(pair):
    s, t = pair
    value = sp_loss(s.bfloat16(), t.bfloat16())
    assert value.dtype == torch.float32
    rounded = sp_loss(s.bfloat16().double(), t.bfloat16().double())
    assert value.item() == pytest.approx(rounded.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = sp_loss(s.float(), t.float())
    assert found.item() == pytest.approx(sp_loss(s, t).item(), rel=1e-5)


def test_float16_does_not_overflow():
    """Products of a map of 16,384 elements of size 100 are 1.6e8: float16 ends at 65,504."""
    s, t = torch.full((3, 64, 16, 16), 100.0).half(), torch.randn(3, 8).half()
    assert torch.isfinite(sp_loss(s, t))


def test_small_and_wrong_batches():
    one = torch.ones(1, 4, requires_grad=True)
    SP()(one, torch.ones(1, 4)).backward()
    assert one.grad.abs().sum() == 0
    with pytest.raises(ValueError, match="at least 2 samples in a batch, got 1"):
        sp_loss(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="same samples, got 3 and 4"):
        sp_loss(torch.ones(3, 2), torch.ones(4, 2))
