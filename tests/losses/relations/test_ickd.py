import numpy as np
import pytest
import torch
from torch import nn

from distill.losses.relations.ickd import ICKD, ickd_loss


def reference(s, t):
    def correlation(f):
        c = len(f)
        g = np.array([[(f[i] * f[j]).sum() for j in range(c)] for i in range(c)])
        return np.array([row / np.sqrt((row**2).sum()) for row in g])

    n, c = s.shape[:2]
    return sum(((correlation(a) - correlation(b)) ** 2).sum() for a, b in zip(s, t, strict=True)) / (n * c)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(3, 4, 5, 5, dtype=torch.float64), 2 * torch.randn(3, 4, 3, 3, dtype=torch.float64)


def test_equals_the_formula(pair):
    s, t = pair
    assert ickd_loss(s, t).item() == pytest.approx(reference(s.numpy(), t.numpy()), rel=1e-9)
    assert ickd_loss(s[:1], t[:1]).item() == pytest.approx(reference(s[:1].numpy(), t[:1].numpy()), rel=1e-9)


def test_invariances(pair):
    """To the scale of each sample and to the order of the positions, not to that of the channels."""
    s, t = pair
    scale = torch.rand(3, 1, 1, 1, dtype=torch.float64) + 0.1
    moved = (scale * s).flatten(2)[:, :, torch.randperm(25)]
    assert ickd_loss(moved, t).item() == pytest.approx(ickd_loss(s, t).item(), rel=1e-9)
    assert ickd_loss(moved, s).item() == pytest.approx(0, abs=1e-12)
    assert ickd_loss(s.flip(1), s).item() > 1e-2
    assert 0 < ickd_loss(s, t).item() < 4


def test_worked_by_hand():
    """Channels (x, x) against (x, −x): the rows are at a right angle, so their squared distance is 2."""
    x = torch.ones(1, 1, 4)
    alike, opposite = torch.cat([x, x], dim=1), torch.cat([x, -x], dim=1)
    assert ickd_loss(alike, opposite).item() == pytest.approx(2, rel=1e-6)


def test_gradient(pair):
    s, t = pair
    assert torch.autograd.gradcheck(lambda x: ickd_loss(x, t), s.requires_grad_())


def test_dead_channels_give_finite_gradients(pair):
    s, t = pair[0].float(), pair[1].float()
    s[:, 1] = 0
    t[:, 2] = 0
    s.requires_grad_()
    ickd_loss(s, t).backward()
    assert torch.isfinite(s.grad).all()


def test_through_its_adapter(pair):
    """conv 1×1 → BatchNorm (batch statistics), written out in numpy; no ReLU."""
    torch.manual_seed(0)
    loss = ICKD()
    loss.build(student_feature=(2, 3, 6, 6), teacher_feature=(2, 4, 3, 3))
    assert not any(isinstance(m, nn.ReLU) for m in loss.modules())
    s, t = torch.randn(3, 3, 6, 6), pair[1].float()
    weight = loss.adapter[0].weight.detach().numpy()[:, :, 0, 0]
    mapped = np.einsum("oc,nchw->nohw", weight, s.numpy())
    mean, var = mapped.mean((0, 2, 3), keepdims=True), mapped.var((0, 2, 3), keepdims=True)
    adapted = (mapped - mean) / np.sqrt(var + 1e-5)
    assert loss(s, t).item() == pytest.approx(reference(adapted, t.numpy()), rel=1e-4)
    loss(s, t).backward()
    assert all(p.grad is not None for p in loss.parameters())


def test_tokens_and_maps():
    """Five tokens are a class token, which is dropped, and a 2 × 2 grid."""
    torch.manual_seed(0)
    loss = ICKD()
    loss.build((2, 5, 3), (2, 4, 7, 7))
    s, t = torch.randn(3, 5, 3), torch.randn(3, 4, 7, 7)
    other = torch.cat([torch.randn(3, 1, 3), s[:, 1:]], dim=1)
    assert loss(s, t) == loss(other, t)
    both = ICKD()
    both.build((2, 5, 3), (2, 17, 6))
    assert both(s, torch.randn(3, 17, 6)).dim() == 0


@pytest.mark.parametrize(("student", "teacher"), [((2, 3), (2, 4)), ((2, 3, 4, 4), (2, 5)), ((2, 35, 3), (2, 3, 4, 4))])
def test_shapes_that_do_not_match_are_shown(student, teacher):
    with pytest.raises(ValueError, match="cannot be matched") as error:
        ICKD().build(student, teacher)
    assert str(student) in str(error.value)
    assert str(teacher) in str(error.value)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"as many channels, got \(2, 3, 4\) and \(2, 5, 4\)"):
        ickd_loss(torch.ones(2, 3, 4), torch.ones(2, 5, 4))
    with pytest.raises(ValueError, match=r"must be maps \(N, C, ...\)"):
        ickd_loss(torch.ones(2, 3), torch.ones(2, 3))
    with pytest.raises(ValueError, match="same samples, got 2 and 3"):
        ickd_loss(torch.ones(2, 3, 4), torch.ones(3, 3, 4))


def test_half_precision_and_autocast(pair):
    s, t = pair
    value = ickd_loss(s.bfloat16(), t.bfloat16())
    assert value.dtype == torch.float32
    rounded = ickd_loss(s.bfloat16().double(), t.bfloat16().double())
    assert value.item() == pytest.approx(rounded.item(), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = ickd_loss(s.float(), t.float())
    assert found.item() == pytest.approx(ickd_loss(s, t).item(), rel=1e-5)


def test_compiles_into_one_graph(pair):
    torch.testing.assert_close(torch.compile(ickd_loss, fullgraph=True, backend="eager")(*pair), ickd_loss(*pair))
    loss = ICKD()
    loss.build((2, 5, 3), (2, 4, 7, 7))
    loss.eval()
    values = torch.randn(3, 5, 3), torch.randn(3, 4, 7, 7)
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(*values), loss(*values))
