"""Maps in bf16 are pooled in float32: the mean of many is close to its neighbours, and rounding would be the loss."""

import pytest
import torch

from distill.losses import AB, FT, OFD, VID, FitNet, simkd_loss
from distill.losses.adapters import adapt, match_size
from distill.losses.features.ab import ab_loss
from distill.losses.features.ft import ft_loss
from distill.losses.features.ofd import ofd_loss
from distill.losses.features.vid import EPS, vid_loss


@pytest.fixture
def close():
    """A teacher's map in bf16, large, and a student's near its mean."""
    torch.manual_seed(0)
    teacher = 1 + 0.1 * torch.randn(4, 3, 8, 8)
    student = teacher.reshape(4, 3, 4, 2, 4, 2).mean((3, 5)) + 0.02 * torch.randn(4, 3, 4, 4)
    return student.bfloat16(), teacher.bfloat16()


def pooled(x):
    return x.double().reshape(4, -1, 4, 2, 4, 2).mean((3, 5))


def test_simkd_loss_of_close_maps(close):
    s, t = close
    expected = (s.double() - pooled(t)).square().mean().item()
    assert simkd_loss(s, t).item() == pytest.approx(expected, rel=1e-4)
    assert simkd_loss(t, s).item() == pytest.approx(expected, rel=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert simkd_loss(s, t).item() == pytest.approx(expected, rel=1e-4)


def test_match_size_pools_in_full_precision(close):
    s, t = close
    small, large = match_size(s, t)
    assert (small.dtype, large.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(large.double(), pooled(t), rtol=1e-6, atol=0)


SHAPES = (4, 3, 4, 4), (4, 3, 8, 8)


def built(loss, several):
    loss.build(*([[shape] for shape in SHAPES] if several else SHAPES))
    return loss.eval()


def of_fitnet(loss, s, t):
    return (loss.adapter(s).double() - pooled(t)).square().mean()


def of_vid(loss, s, t):
    variance = torch.nn.functional.softplus(loss.a) + EPS
    return vid_loss(loss.regressor(s).double(), pooled(t), variance.double())


def of_ft(loss, s, t):
    return ft_loss(loss.translator(s).double(), pooled(loss.encoder(t)))


def of_ab(loss, s, t):
    return ab_loss([s.double()], [pooled(t)])


def of_ofd(loss, s, t):
    adapted = loss.connectors[0](s).double()
    return ofd_loss([adapted], [pooled(t)], [torch.zeros(3, 1, 1)])


@pytest.mark.parametrize(
    ("loss", "several", "expected"),
    [(FitNet(), False, of_fitnet), (VID(), False, of_vid), (AB(), True, of_ab), (OFD(), True, of_ofd)],
)
def test_losses_that_pool_the_teachers_map(close, loss, several, expected):
    """Only the adapter computes in bf16; what it is compared with does not lose digits."""
    built(loss, several)
    s, t = close
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        value = loss([s], [t]) if several else loss(s, t)
        exact = expected(loss, s, t).item()
    assert value.item() == pytest.approx(exact, rel=1e-4)


def test_factors_are_pooled_in_full_precision(close):
    loss = FT(k=0.3).eval()
    loss.build(*SHAPES)
    loss.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert loss(*close).item() == pytest.approx(of_ft(loss, *close).item(), rel=1e-4)


@pytest.mark.parametrize(("loss", "several"), [(FitNet(), False), (VID(), False), (AB(), True), (OFD(), True)])
def test_adapters_all_in_half_precision_take_pooled_maps(loss, several):
    shapes = (4, 3, 8, 8), (4, 5, 4, 4)
    loss.build(*([[shape] for shape in shapes] if several else shapes))
    loss.bfloat16()
    s, t = (torch.randn(shape).bfloat16() for shape in shapes)
    value = loss([s], [t]) if several else loss(s, t)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    module = torch.nn.Linear(2, 2)
    assert adapt(module, torch.ones(1, 2)).equal(module(torch.ones(1, 2)))
