import math

import numpy as np
import pytest
import torch

from distill.losses.relations.cc import CC, cc_loss


def reference(s, t, kernel):
    n = len(s)
    s, t = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in (s, t))
    return sum((kernel(s[i], s[j]) - kernel(t[i], t[j])) ** 2 for i in range(n) for j in range(n)) / n**2


def taylor(gamma, order):
    def kernel(x, y):
        return math.exp(-2 * gamma) * sum((2 * gamma) ** p / math.factorial(p) * (x @ y) ** p for p in range(order + 1))

    return kernel


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(7, 5, dtype=torch.float64), 2 * torch.randn(7, 3, dtype=torch.float64)


@pytest.mark.parametrize(("gamma", "order"), [(0.4, 2), (0.4, 1), (1.5, 4)])
def test_equals_the_formula(pair, gamma, order):
    s, t = pair
    expected = reference(s.numpy(), t.numpy(), taylor(gamma, order))
    assert cc_loss(s, t, gamma=gamma, order=order).item() == pytest.approx(expected, rel=1e-9)
    assert CC(gamma=gamma, order=order)(s, t).item() == pytest.approx(expected, rel=1e-9)


def test_a_high_order_is_the_gaussian(pair):
    s, t = pair
    expected = reference(s.numpy(), t.numpy(), lambda x, y: math.exp(-0.4 * ((x - y) ** 2).sum()))
    assert cc_loss(s, t, order=20).item() == pytest.approx(expected, rel=1e-9)
    second = reference(s.numpy(), t.numpy(), taylor(0.4, 2))
    assert cc_loss(s, t).item() == CC()(s, t).item() == pytest.approx(second, rel=1e-9)  # the default
    assert second == pytest.approx(expected, rel=0.2)


def test_bilinear(pair):
    s, t = pair
    expected = reference(s.numpy(), t.numpy(), lambda x, y: x @ y)
    assert CC(kernel="bilinear")(s, t).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kernel", ["gaussian", "bilinear"])
def test_invariant_to_rotation_and_lengths(pair, kernel):
    s, t = pair
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    turned = (torch.rand(7, 1, dtype=torch.float64) + 0.1) * s @ rotation
    assert cc_loss(turned, t, kernel).item() == pytest.approx(cc_loss(s, t, kernel).item(), rel=1e-9)
    assert cc_loss(turned, s, kernel).item() == pytest.approx(0, abs=1e-12)
    assert cc_loss(s, t, kernel).item() > 1e-3


@pytest.mark.parametrize("kernel", ["gaussian", "bilinear"])
def test_gradient(pair, kernel):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: cc_loss(x, t, kernel), s.requires_grad_())


def test_zero_embeddings_give_finite_gradients():
    s = torch.tensor([[0.0, 0.0], [1.0, 2.0], [1e4, 0.0]], requires_grad=True)
    loss = cc_loss(s, torch.zeros(3, 2))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(s.grad).all()


def test_half_precision_and_autocast(pair):
    s, t = pair
    value = cc_loss(s.bfloat16(), t.bfloat16())
    assert value.dtype == torch.float32
    rounded = cc_loss(s.bfloat16().double(), t.bfloat16().double())
    assert value.item() == pytest.approx(rounded.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = cc_loss(s.float(), t.float())
    assert found.item() == pytest.approx(cc_loss(s, t).item(), rel=1e-5)


def test_small_and_wrong_batches():
    one = torch.ones(1, 4, requires_grad=True)
    CC()(one, torch.ones(1, 4)).backward()
    assert one.grad.abs().sum() == 0
    with pytest.raises(ValueError, match="at least 2 samples in a batch, got 1"):
        cc_loss(torch.ones(1, 4), torch.ones(1, 4))
    with pytest.raises(ValueError, match="same samples, got 3 and 4"):
        cc_loss(torch.ones(3, 2), torch.ones(4, 2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": "rbf"}, "kernel must be one of gaussian, bilinear, got 'rbf'"),
        ({"gamma": 0}, "gamma must be a finite number above 0, got 0"),
        ({"order": 0}, "order must be an integer of at least 1, got 0"),
        ({"order": 1.5}, "order must be an integer of at least 1, got 1.5"),
    ],
)
def test_bad_values(settings, message):
    with pytest.raises(ValueError, match=message):
        CC(**settings)
    with pytest.raises(ValueError, match=message):
        cc_loss(torch.ones(3, 2), torch.ones(3, 2), **settings)


def test_compiles_into_one_graph(pair):
    for loss in (cc_loss, CC(kernel="bilinear", gather=True)):
        torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(*pair), loss(*pair))
