import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from distill.losses.features.nst import NST, nst_loss

SHAPES = [((3, 4, 4, 5), (3, 6, 4, 5)), ((3, 12, 2, 3), (3, 9, 2, 3)), ((1, 40, 3, 3), (1, 2, 3, 3))]


def reference(s, t):
    """mean_n of mean k(s, s) + mean k(t, t) − 2 mean k(s, t), k = (aᵀb)² of normalised channels, in loops."""

    def kernel(a, b):
        return sum((x @ y) ** 2 for x in a for y in b) / (len(a) * len(b))

    total = 0.0
    for n in range(len(s)):
        a, b = (np.asarray(f[n]).reshape(f.shape[1], -1) for f in (s, t))
        a, b = (f / np.maximum(np.linalg.norm(f, axis=1, keepdims=True), 1e-12) for f in (a, b))
        total += kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    return total / len(s)


@pytest.fixture(params=SHAPES)
def pair(request):
    """The first and the last are cheaper over channels and over places; see :func:`nst_loss`."""
    torch.manual_seed(0)
    s, t = request.param
    return torch.randn(s, dtype=torch.float64), 2 * torch.randn(t, dtype=torch.float64)


def test_equals_the_formula(pair):
    s, t = pair
    assert nst_loss(s, t).item() == pytest.approx(reference(s, t), rel=1e-10)
    assert NST()(s, t).item() == nst_loss(s, t).item()


def test_zero_at_equality_and_for_repeated_channels(pair):
    s, t = pair
    assert nst_loss(s, s).item() == pytest.approx(0, abs=1e-12)
    assert nst_loss(s.repeat(1, 3, 1, 1), s).item() == pytest.approx(0, abs=1e-12), "a distribution, not a list"
    assert nst_loss(s, t).item() > 1e-3


def test_invariant_to_scale_sign_and_order_of_channels(pair):
    s, t = pair
    c = s.shape[1]
    factors = torch.linspace(-3, 4, c, dtype=torch.float64)[None, :, None, None]
    assert nst_loss((factors * s).flip(1), t.flip(1)).item() == pytest.approx(nst_loss(s, t).item(), rel=1e-9)
    order = torch.randperm(s.shape[2] * s.shape[3])
    moved = [f.flatten(2)[:, :, order].reshape(f.shape) for f in (s, t)]
    assert nst_loss(*moved).item() == pytest.approx(nst_loss(s, t).item(), rel=1e-9), "places moved in both"
    assert nst_loss(moved[0], t).item() != pytest.approx(nst_loss(s, t).item(), rel=1e-4), "places moved in one"


def test_gradient(pair):
    s, t = pair[0][:, :4, :2, :3], pair[1]
    assert torch.autograd.gradcheck(lambda x: nst_loss(x, t[:, :3, :2, :3]), s.clone().requires_grad_())
    few = s[:, :, :1, :2]  # two places: the other form
    assert torch.autograd.gradcheck(lambda x: nst_loss(x, t[:, :, :1, :2]), few.clone().requires_grad_())


def test_dead_channels_give_finite_gradients(pair):
    s, t = pair[0].clone(), pair[1]
    s[:, 0] = 0
    s.requires_grad_()
    value = nst_loss(s, t)
    value.backward()
    assert value.item() == pytest.approx(reference(s.detach(), t), rel=1e-10)
    assert torch.isfinite(s.grad).all()


class Largest(TorchDispatchMode):
    """Counts the elements of the largest tensor that any operation gives."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.elements = max(self.elements, out.numel())
        return out


@pytest.mark.parametrize(("c_s", "c_t", "side"), [(64, 128, 16), (64, 128, 2), (3, 4, 8), (64, 2, 4)])
def test_holds_no_more_than_the_gram_matrices_of_the_channels(c_s, c_t, side):
    s, t = torch.randn(2, c_s, side, side), torch.randn(2, c_t, side, side)
    with Largest() as seen:
        nst_loss(s, t)
    assert seen.elements <= 2 * max(c_s, c_t) * max(side**2, c_s, c_t)
    if side == 2:
        assert seen.elements == t.numel(), "4 places: less than the features themselves"


def test_the_larger_map_is_pooled():
    torch.manual_seed(0)
    big, small = torch.randn(2, 3, 4, 6, dtype=torch.float64), torch.randn(2, 5, 2, 3, dtype=torch.float64)
    pooled = big.numpy().reshape(2, 3, 2, 2, 3, 2).mean((3, 5))
    assert nst_loss(big, small).item() == pytest.approx(reference(pooled, small), rel=1e-10)
    assert nst_loss(small, big).item() == pytest.approx(reference(small, pooled), rel=1e-10)
