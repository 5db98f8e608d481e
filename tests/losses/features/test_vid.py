import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from distill.losses.features.vid import VID, vid_loss


def reference(mean, t, variance):
    """Mean of −log N(t; mean, variance) − ½ ln 2π, channel by channel, with scipy's density."""
    mean, t = np.asarray(mean), np.asarray(t)
    total = 0.0
    for c, v in enumerate(np.asarray(variance)):
        total += (-norm.logpdf(t[:, c], mean[:, c], np.sqrt(v)) - 0.5 * np.log(2 * np.pi)).sum()
    return total / t.size


@pytest.fixture(params=[(1, 3, 4, 5), (4, 3, 2, 2), (4, 3)])
def triple(request):
    torch.manual_seed(0)
    shape = request.param
    mean, t = torch.randn(shape, dtype=torch.float64), 2 * torch.randn(shape, dtype=torch.float64)
    return mean, t, torch.tensor([0.3, 1.0, 5.0], dtype=torch.float64)


def test_equals_the_formula(triple):
    assert vid_loss(*triple).item() == pytest.approx(reference(*triple), rel=1e-10)


def test_gradient(triple):
    mean, t, variance = (x.clone() for x in triple)
    assert torch.autograd.gradcheck(lambda m, v: vid_loss(m, t, v), (mean.requires_grad_(), variance.requires_grad_()))


def test_minimum_over_the_mean_and_the_variance(triple):
    mean, t, _ = triple
    dims = [0, *range(2, mean.dim())]
    best = (mean - t).square().mean(dims)
    value = vid_loss(mean, t, best).item()
    assert value == pytest.approx(0.5 * (1 + np.log(best.numpy()).mean()), rel=1e-10)
    assert value < min(vid_loss(mean, t, best * f).item() for f in (0.9, 1.1))
    assert vid_loss(t, t, best).item() == pytest.approx(0.5 * np.log(best.numpy()).mean(), rel=1e-10)
    assert vid_loss(t, t, best).item() < value


def built(student, teacher, **settings):
    torch.manual_seed(0)
    loss = VID(**settings)
    loss.build(student, teacher)
    return loss


def test_variance_at_the_start_and_far_from_it():
    def variance(loss):
        return nn.functional.softplus(loss.a) + 1e-5

    loss = built((2, 3, 4, 4), (2, 6, 4, 4))
    assert loss.a.shape == (6,)
    torch.testing.assert_close(variance(loss), torch.full((6,), 5.0), rtol=1e-6, atol=0)
    for start in (1e-4, 0.1, 1000.0):
        torch.testing.assert_close(
            variance(built((2, 3), (2, 6), variance=start)), torch.full((6,), start), rtol=1e-4, atol=0
        )
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 6, 4, 4)
    for a in (-200.0, 200.0):
        with torch.no_grad():
            loss.a.fill_(a)
        loss.zero_grad()
        value = loss(s, t)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(loss.a.grad).all()


def test_through_the_regressor():
    """Three 1×1 convolutions with ReLUs between, written out in numpy; softplus(a) + 1e-5."""
    loss = built((2, 3, 4, 4), (2, 5, 4, 4), hidden=7).double()
    with torch.no_grad():
        loss.a.copy_(torch.linspace(-3, 3, 5))
    torch.manual_seed(1)
    s, t = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 5, 4, 4, dtype=torch.float64)
    x = s.numpy()
    convolutions = [m for m in loss.regressor if isinstance(m, nn.Conv2d)]
    assert [tuple(m.weight.shape) for m in convolutions] == [(7, 3, 1, 1), (7, 7, 1, 1), (5, 7, 1, 1)]
    for i, convolution in enumerate(convolutions):
        x = np.einsum("oc,nchw->nohw", convolution.weight.detach().numpy()[:, :, 0, 0], x)
        x = np.maximum(x, 0) if i < 2 else x
    variance = np.log1p(np.exp(loss.a.detach().numpy())) + 1e-5
    assert loss(s, t).item() == pytest.approx(reference(x, t, variance), rel=1e-10)


def test_what_is_learnt_is_registered_and_learns():
    loss = built((4, 3, 4, 4), (4, 5, 4, 4))
    assert set(dict(loss.named_parameters())) == {"a", *(f"regressor.{i}.weight" for i in (0, 2, 4))}
    assert loss.state_dict()["a"].shape == (5,)
    torch.manual_seed(1)
    s = torch.randn(4, 3, 4, 4)
    t = torch.cat([s, 5 * torch.randn(4, 2, 4, 4)], 1)  # three channels to be told from the student's, two noise
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    first = loss(s, t).item()
    for _ in range(150):
        optimizer.zero_grad()
        loss(s, t).backward()
        optimizer.step()
    assert loss(s, t).item() < first - 0.5
    assert loss.a[:3].max() < loss.a[3:].min()


def test_a_copy_has_parameters_of_its_own():
    import copy

    loss = VID()
    one, two = copy.deepcopy(loss), copy.deepcopy(loss)
    one.build((2, 3), (2, 4))
    two.build((2, 3), (2, 5))
    assert one.a.shape == (4,)
    assert two.a.shape == (5,)


def test_the_larger_map_is_pooled():
    loss = built((2, 3, 4, 4), (2, 5, 2, 2)).double()
    torch.manual_seed(1)
    big, small = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 5, 2, 2, dtype=torch.float64)
    pooled = big.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))
    assert loss(big, small).item() == pytest.approx(loss(pooled, small).item(), rel=1e-12)
    wide = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert loss(pooled, wide).item() == pytest.approx(loss(pooled, small).item(), rel=1e-12)


def test_tokens_and_vectors():
    torch.manual_seed(1)
    loss = built((2, 3, 4, 4), (2, 17, 5))
    s, tokens = torch.randn(2, 3, 4, 4), torch.randn(2, 17, 5)
    grid = tokens[:, 1:].transpose(1, 2).reshape(2, 5, 4, 4)
    assert loss(s, tokens).item() == pytest.approx(loss(s, grid).item(), rel=1e-6)
    assert built((2, 17, 3), (2, 5, 4, 4))(torch.randn(2, 17, 3), grid).dim() == 0
    assert built((2, 17, 3), (2, 64, 5))(torch.randn(2, 17, 3), torch.randn(2, 64, 5)).dim() == 0
    vectors = built((2, 3), (2, 5))
    s, t = torch.randn(2, 3), torch.randn(2, 5)
    assert vectors(s, t).item() == pytest.approx(vectors(s[:, :, None, None], t[:, :, None, None]).item(), rel=1e-6)


def test_half_precision_and_autocast(triple):
    mean, t, variance = triple[0].bfloat16(), triple[1].bfloat16(), triple[2].float()
    mean.requires_grad_()
    value = vid_loss(mean, t, variance)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(reference(mean.detach().double(), t.double(), variance), rel=1e-5)
    assert torch.isfinite(mean.grad).all()
    loss = built((2, 3, 4, 4), (2, 5, 4, 4))
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    full = loss(s, t).item()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(s, t)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(full, rel=0.01), "the regressor runs in bf16"
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters())


def test_compiles_in_one_graph():
    torch._dynamo.reset()
    loss = built((2, 3, 8, 8), (2, 17, 5))
    s, t = torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    assert compiled(s, t).item() == pytest.approx(loss(s, t).item(), rel=1e-6)


def test_bad_values():
    for value in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"variance must be a finite number above 0, got {value}"):
            VID(variance=value)
    with pytest.raises(ValueError, match="variance must be above 1e-05, got 1e-05"):
        VID(variance=1e-5)
    with pytest.raises(ValueError, match="hidden must be an integer of at least 1, got 0"):
        VID(hidden=0)
    for variance in (0.0, -1.0, 1e-5):  # the least variance there is, see the docstring
        s, t = torch.zeros(2, 3), torch.ones(2, 3)
        value = vid_loss(s, t, torch.full((3,), variance))
        assert value.item() == pytest.approx(0.5 * (1e5 + np.log(1e-5)), rel=1e-5)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        vid_loss(torch.ones(2, 3), torch.ones(2, 4), torch.ones(4))
    with pytest.raises(ValueError, match=r"one value per channel of \(2, 3\), got \(2,\)"):
        vid_loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2))
    for student, teacher in (((2, 3, 4, 4), (2, 5)), ((2, 60, 3), (2, 5, 4, 4))):
        with pytest.raises(ValueError, match="cannot be matched") as error:
            VID().build(student, teacher)
        assert str(student) in str(error.value)
        assert str(teacher) in str(error.value)
