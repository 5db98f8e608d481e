import numpy as np
import pytest
import torch

from distill.losses.features.at import AT, at_loss


def reference(s, t, p=2.0):
    """mean (n(A_s) − n(A_t))² with A = mean_c |f|^p, maps of one size, in loops."""
    s, t = np.asarray(s), np.asarray(t)
    total = 0.0
    for n in range(len(s)):
        vectors = []
        for f in (s[n], t[n]):
            attention = np.zeros(f.shape[1:])
            for channel in f:
                attention += np.abs(channel) ** p / len(f)
            vectors.append(attention.flatten() / np.sqrt((attention**2).sum()))
        total += ((vectors[0] - vectors[1]) ** 2).sum()
    return total / (len(s) * s.shape[2] * s.shape[3])


@pytest.fixture(params=[1, 4])
def pair(request):
    torch.manual_seed(0)
    n = request.param
    return torch.randn(n, 3, 4, 6, dtype=torch.float64), 2 * torch.randn(n, 5, 4, 6, dtype=torch.float64)


@pytest.mark.parametrize("p", [1.0, 2.0, 3.5])
def test_equals_the_formula(pair, p):
    s, t = pair
    assert at_loss(s, t, p).item() == pytest.approx(reference(s, t, p), rel=1e-10)
    assert AT(p)(s, t).item() == at_loss(s, t, p).item()


def test_default_exponent_is_two(pair):
    assert AT()(*pair).item() == at_loss(*pair).item() == at_loss(*pair, p=2.0).item()


def test_zero_at_equality_and_bounded(pair):
    s, t = pair
    assert at_loss(s, s).item() == 0
    assert 1e-3 < at_loss(s, t).item() <= 2 / 24
    apart = torch.zeros(2, 1, 1, 2)
    apart[:, :, :, 0] = 7
    assert at_loss(apart, apart.flip(3)).item() == pytest.approx(2 / 2)


def test_invariant_to_scale_sign_and_order_of_channels(pair):
    s, t = pair
    value = at_loss(s, t).item()
    each = torch.linspace(0.1, 9, len(s), dtype=torch.float64)[:, None, None, None]
    assert at_loss(each * s, t).item() == pytest.approx(value, rel=1e-9)
    assert at_loss(-s[:, [2, 0, 1]], t[:, [4, 3, 2, 1, 0]]).item() == pytest.approx(value, rel=1e-9)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    rotated = torch.einsum("dc,nchw->ndhw", rotation, s)
    assert at_loss(rotated, t).item() == pytest.approx(value, rel=1e-9), "p = 2: only the length over channels counts"
    assert at_loss(rotated, t, p=4).item() != pytest.approx(at_loss(s, t, p=4).item(), rel=1e-3)
    assert at_loss(s.flip(3), t).item() != pytest.approx(value, rel=1e-3), "places do count"


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: at_loss(x, t, 2.0), s.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda x: at_loss(x, t, 3.0), s.clone().requires_grad_())


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0])
def test_dead_features_give_finite_gradients(p):
    s = torch.zeros(2, 3, 4, 4)
    s[1, 0, 0, 0] = 1e-20
    s.requires_grad_()
    value = at_loss(s, torch.rand(2, 3, 4, 4), p)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(s.grad).all()


@pytest.mark.parametrize("swap", [False, True])
def test_the_larger_attention_map_is_pooled(swap):
    """Attention first, then the pooling: mean over 2 × 2 places of f², not the square of the mean."""
    torch.manual_seed(0)
    big, small = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 5, 2, 3, dtype=torch.float64)
    attention = (big.numpy() ** 2).mean(1)
    pooled = np.zeros((2, 1, 2, 3))
    for i in range(2):
        for j in range(3):
            pooled[:, 0, i, j] = attention[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((1, 2))
    value = at_loss(small, big) if swap else at_loss(big, small)
    assert value.item() == pytest.approx(reference(np.sqrt(pooled), small), rel=1e-10)


@pytest.mark.parametrize("p", [0.5, 0, -1, float("nan"), float("inf")])
def test_bad_exponent(p):
    with pytest.raises(ValueError, match=f"p must be a finite number of at least 1, got {p}"):
        AT(p)
    with pytest.raises(ValueError, match="p must be a finite number of at least 1"):
        at_loss(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), p)
