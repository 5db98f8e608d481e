import numpy as np
import pytest
import torch
from scipy.stats import zscore

from distill.losses.logits.kd import kd_loss
from distill.losses.logits.standardize import standardize


def logits(n, c, scale=3.0, dtype=torch.float64):
    torch.manual_seed(0)
    return scale * torch.randn(n, c, dtype=dtype), scale * torch.randn(n, c, dtype=dtype)


@pytest.fixture(params=[(1, 2), (8, 10), (3, 1000)])
def pair(request):
    return logits(*request.param)


def test_equals_the_z_score(pair):
    s, _ = pair
    np.testing.assert_allclose(standardize(s).numpy(), zscore(s.numpy(), axis=1, ddof=1), rtol=1e-6)
    row = s[0].numpy()
    expected = (row - row.mean()) / (np.sqrt(((row - row.mean()) ** 2).sum() / (len(row) - 1)) + 0.5)
    np.testing.assert_allclose(standardize(s, eps=0.5)[0].numpy(), expected, rtol=1e-10)
    small = 1e-7 * s
    factor = small[0].std().item() / (small[0].std().item() + 1e-7)
    np.testing.assert_allclose(standardize(small)[0], factor * zscore(small[0], ddof=1), rtol=1e-9)


@pytest.mark.parametrize("T", [0.5, 2.0, 20.0])
def test_kd_after_it_does_not_see_shift_or_scale(pair, T):
    s, t = pair

    def loss(a, b):
        return kd_loss(standardize(a), standardize(b), T).item()

    each = torch.linspace(0.1, 9, len(s), dtype=torch.float64)[:, None]
    for a, b in ((each * s - 20 * each, t), (s, 7 + 5 * t), (3 * s + 1, each * t)):
        assert loss(a, b) == pytest.approx(loss(s, t), rel=1e-5, abs=1e-9)
    assert loss(4 * t + 1, t) == pytest.approx(0, abs=1e-9)
    if s.shape[1] > 2:
        assert loss(s, t) > 1e-3
    assert loss(s, -s) > 1e-3, "the sign does count"


def test_the_temperature_is_in_standard_deviations():
    """softmax(standardize(z) / T) is softmax(z / (T · std)): the effective temperature is each sample's own."""
    s, _ = logits(8, 10)
    expected = torch.softmax(s / (2 * s.std(dim=1, keepdim=True)), 1)
    torch.testing.assert_close(torch.softmax(standardize(s) / 2, 1), expected, rtol=1e-6, atol=0)


def test_gradient(pair):
    s, t = (x[:, :12] for x in pair)
    assert torch.autograd.gradcheck(standardize, s.clone().requires_grad_())
    if s.shape[1] > 2:  # the z-score of two numbers is constant
        few = s.clone().requires_grad_()
        kd_loss(standardize(few), standardize(t), 2.0).backward()
        assert few.grad.abs().max() > 1e-6
        torch.testing.assert_close((few.grad * s).sum(1), torch.zeros(len(s), dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [0.0, 0.1, -50.3])
def test_rows_that_do_not_vary_become_0_without_gradient(dtype, value):
    s, t = logits(4, 100, dtype=dtype)
    s[1] = value
    s.requires_grad_()
    assert standardize(s)[1].abs().max() == 0
    kd_loss(standardize(s), standardize(t), 2.0).backward()
    assert torch.isfinite(s.grad).all()
    assert s.grad[1].abs().max() == 0
    assert s.grad[0].abs().max() > 0


@pytest.mark.parametrize("c", [2, 100, 22_000])
@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_half_precision_and_extremes(c, scale):
    s, _ = logits(4, c, scale, torch.bfloat16)
    low = s.clone().requires_grad_()
    found = standardize(low)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), standardize(s.double()), rtol=1e-4, atol=1e-4)
    found.square().sum().backward()
    assert torch.isfinite(low.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(standardize(s.float()), found, rtol=1e-5, atol=1e-5)


def test_compiles_in_one_graph():
    torch._dynamo.reset()
    compiled = torch.compile(standardize, fullgraph=True, backend="eager")
    for n in (8, 5, 1):
        s, _ = logits(n, 10, dtype=torch.float32)
        torch.testing.assert_close(compiled(s), standardize(s))


def test_bad_shapes():
    for shape in ((4,), (2, 3, 4), (3, 1)):
        with pytest.raises(ValueError, match="shape .N, C., C at least 2, got") as error:
            standardize(torch.zeros(shape))
        assert str(shape) in str(error.value)
