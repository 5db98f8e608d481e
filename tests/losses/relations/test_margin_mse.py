import itertools

import pytest
import torch

from distill.losses import MarginMSE, margin_mse_loss


def reference(s, t):
    """Over all ordered pairs of samples and all outputs, one by one."""
    squares = []
    for k in range(s.shape[1]):
        for i, j in itertools.permutations(range(len(s)), 2):
            squares.append((float(s[i, k] - s[j, k]) - float(t[i, k] - t[j, k])) ** 2)
    return sum(squares) / len(squares)


@pytest.fixture(params=[(2, 1), (7, 1), (5, 4)])
def pair(request):
    torch.manual_seed(0)
    return tuple(torch.randn(request.param, dtype=torch.float64) for _ in range(2))


def test_equals_the_formula(pair):
    assert margin_mse_loss(*pair).item() == pytest.approx(reference(*pair), rel=1e-12)
    assert MarginMSE()(*pair).item() == margin_mse_loss(*pair).item()


def test_a_level_of_its_own_changes_nothing(pair):
    s, t = pair
    assert margin_mse_loss(s + 7, t - 3).item() == pytest.approx(margin_mse_loss(s, t).item(), rel=1e-9)
    assert margin_mse_loss(t + torch.arange(t.shape[1]), t).item() == pytest.approx(0, abs=1e-12)
    assert margin_mse_loss(2 * t, t).item() > 1e-3


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: margin_mse_loss(x, t), s.requires_grad_())


def test_one_sample_has_no_pair():
    one = torch.ones(1, 3, requires_grad=True)
    MarginMSE()(one, torch.zeros(1, 3)).backward()
    assert one.grad.abs().sum() == 0
    with pytest.raises(ValueError, match="margins need at least 2 samples in a batch, got 1"):
        margin_mse_loss(one, one)
    for shape in ((2, 3, 4), (2,)):
        with pytest.raises(ValueError, match="2 dimensions, got shape"):
            margin_mse_loss(torch.ones(shape), torch.ones(shape))
