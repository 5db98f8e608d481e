import numpy as np
import pytest
import torch

from distill.losses.relations.skd import SKD, skd_loss


def reference(s, t):
    """mean (a_s − a_t)² over samples and pairs of places, in loops."""
    s, t = np.asarray(s), np.asarray(t)
    squares = []
    for n in range(len(s)):
        for i in np.ndindex(*s.shape[2:]):
            for j in np.ndindex(*s.shape[2:]):
                a, b = (
                    (f[n, :, *i] @ f[n, :, *j]) / np.linalg.norm(f[n, :, *i]) / np.linalg.norm(f[n, :, *j])
                    for f in (s, t)
                )
                squares.append((a - b) ** 2)
    return np.mean(squares)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(2, 3, 2, 2, dtype=torch.float64), torch.randn(2, 5, 2, 2, dtype=torch.float64)


def test_equals_the_formula(pair):
    assert skd_loss(*pair).item() == pytest.approx(reference(*pair), rel=1e-10)
    assert SKD()(*pair).item() == skd_loss(*pair).item()


def test_maps_are_pooled_to_the_grid(pair):
    s, t = pair
    large = s.repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert skd_loss(large, t, grid=2).item() == pytest.approx(reference(s, t))
    assert skd_loss(large, t).item() == pytest.approx(reference(s, t)), "the smaller map sets the number of places"


def test_invariant_to_scale_and_to_rotations_of_channels(pair):
    s, t = pair
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    assert skd_loss(3 * torch.einsum("dc,nchw->ndhw", rotation, s), t).item() == pytest.approx(skd_loss(s, t).item())


def test_gradient_and_errors(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: skd_loss(x, t), s.clone().requires_grad_())
    with pytest.raises(ValueError, match="grid"):
        SKD(grid=0)
    with pytest.raises(ValueError, match="same samples"):
        skd_loss(s[:1], t)
