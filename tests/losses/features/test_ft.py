import numpy as np
import pytest
import torch
from torch import nn

from distill.losses.features.ft import FT, ft_loss


def reference(s, t):
    """Mean of |n(F_s) − n(F_t)|, sample by sample."""
    total = 0.0
    for a, b in zip(np.asarray(s), np.asarray(t), strict=True):
        a, b = a.ravel(), b.ravel()
        total += np.abs(a / np.sqrt((a**2).sum()) - b / np.sqrt((b**2).sum())).mean()
    return total / len(s)


@pytest.fixture
def pair():
    torch.manual_seed(0)
    return torch.randn(3, 4, 5, 6, dtype=torch.float64), 2 * torch.randn(3, 4, 5, 6, dtype=torch.float64)


def built(student=(2, 6, 8, 8), teacher=(2, 10, 8, 8), k=0.5):
    torch.manual_seed(0)
    loss = FT(k)
    loss.build(student, teacher)
    return loss


def test_equals_the_formula(pair):
    s, t = pair
    assert ft_loss(s, t).item() == pytest.approx(reference(s, t), rel=1e-12)
    assert ft_loss(s[:1], t[:1]).item() == pytest.approx(reference(s[:1], t[:1]), rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: ft_loss(x, t), s.requires_grad_())


def test_zero_at_equality_and_blind_to_the_scale_of_a_sample(pair):
    s, t = pair
    scale = torch.tensor([0.1, 3.0, 100.0], dtype=torch.float64).reshape(3, 1, 1, 1)
    assert ft_loss(scale * s, s).item() == pytest.approx(0, abs=1e-15)
    assert ft_loss(scale * s, t).item() == pytest.approx(ft_loss(s, t).item(), rel=1e-12)
    assert ft_loss(-s, s).item() > ft_loss(s, t).item()
    assert ft_loss(-s, s).item() <= 2 / np.sqrt(4 * 5 * 6)


def test_modules_have_the_papers_layers():
    loss = built(teacher=(2, 10, 8, 8), k=0.5)

    def widths(module, kind):
        return [(m.in_channels, m.out_channels) for m in module if isinstance(m, kind)]

    assert widths(loss.encoder, nn.Conv2d) == [(10, 10), (10, 5), (5, 5)]
    assert widths(loss.decoder, nn.ConvTranspose2d) == [(5, 5), (5, 10), (10, 10)]
    assert widths(loss.translator, nn.Conv2d) == [(6, 6), (6, 5), (5, 5)]
    for module in (loss.encoder, loss.decoder, loss.translator):
        assert [type(m) for m in module][1:3] == [nn.BatchNorm2d, nn.LeakyReLU]
        assert len(module) == 9
        assert {m.negative_slope for m in module if isinstance(m, nn.LeakyReLU)} == {0.1}
        assert all(m.kernel_size == (3, 3) for m in module if hasattr(m, "kernel_size"))
    assert built(teacher=(2, 1, 8, 8), k=0.1).encoder[6].out_channels == 1


def test_forward_compares_the_two_factors():
    loss = built().eval()
    s, t = torch.randn(2, 6, 8, 8), torch.randn(2, 10, 8, 8)
    with torch.no_grad():
        expected = reference(loss.translator(s).numpy(), loss.encoder(t).numpy())
    assert loss(s, t).item() == pytest.approx(expected, rel=1e-5)


def test_only_the_translator_and_the_student_learn_from_forward():
    loss = built()
    s = torch.randn(2, 6, 8, 8, requires_grad=True)
    loss(s, torch.randn(2, 10, 8, 8)).backward()
    assert s.grad.abs().sum() > 0
    assert all(p.grad is not None for p in loss.translator.parameters())
    assert all(p.grad is None for module in (loss.encoder, loss.decoder) for p in module.parameters())


def test_preparation_trains_the_paraphraser_alone():
    loss = built()
    t = torch.randn(4, 10, 8, 8).relu()
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.05, momentum=0.9)
    before = {name: p.clone() for name, p in loss.translator.named_parameters()}
    first = loss.pretraining_loss(t)
    reconstructed = loss.eval().decoder(loss.encoder(t))
    assert loss.pretraining_loss(t).item() == pytest.approx(((reconstructed - t) ** 2).mean().item(), rel=1e-5)
    loss.train()
    for _ in range(30):
        optimizer.zero_grad()
        value = loss.pretraining_loss(t)
        value.backward()
        optimizer.step()
    assert value.item() < 0.5 * first.item()
    assert all(torch.equal(p, before[name]) for name, p in loss.translator.named_parameters())


def test_the_paraphraser_is_frozen_after_its_preparation():
    loss = built()
    s, t = torch.randn(4, 6, 8, 8), torch.randn(4, 10, 8, 8)
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    loss.pretraining_loss(t).backward()
    optimizer.step()
    loss.after_pretraining()
    loss.train()
    frozen = {k: v.clone() for k, v in loss.state_dict().items() if k.startswith(("encoder", "decoder"))}
    assert any(k.endswith("running_mean") for k in frozen)
    assert not any(m.training for m in (*loss.encoder.modules(), *loss.decoder.modules()))
    assert all(m.training for m in loss.translator.modules())
    loss(s, t).backward()
    optimizer.step()
    assert all(torch.equal(v, frozen[k]) for k, v in loss.state_dict().items() if k in frozen)
    assert not any(p.requires_grad for module in (loss.encoder, loss.decoder) for p in module.parameters())


def test_a_checkpoint_keeps_it_frozen():
    loss = built()
    fresh = built()
    fresh.load_state_dict(loss.state_dict())
    assert not fresh.frozen
    loss.after_pretraining()
    assert all(isinstance(v, torch.Tensor) for v in loss.state_dict().values())
    fresh.load_state_dict(loss.state_dict())
    assert not fresh.train().encoder.training
    assert not any(p.requires_grad for p in fresh.encoder.parameters())
    assert all(p.requires_grad for p in fresh.translator.parameters())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((2, 6, 8, 8), (2, 10, 4, 4)),
        ((2, 6, 4, 4), (2, 10, 8, 8)),
        ((2, 6, 4, 4), (2, 17, 10)),
        ((2, 65, 6), (2, 17, 10)),
    ],
)
def test_maps_of_other_sizes_and_tokens(student, teacher):
    """Factors of hand-made maps, the larger pooled in numpy; a class token is dropped."""
    loss = built(student, teacher).eval()
    s, t = torch.randn(student), torch.randn(teacher)

    def grid(x):
        side = int(x.shape[1] ** 0.5)
        return x if x.dim() == 4 else x[:, -side * side :].transpose(1, 2).reshape(2, -1, side, side)

    def pooled(x, side):
        k = x.shape[2] // side
        return x.reshape(2, x.shape[1], side, k, side, k).mean((3, 5))

    with torch.no_grad():
        factors = [loss.translator(grid(s)).numpy(), loss.encoder(grid(t)).numpy()]
    side = min(factor.shape[2] for factor in factors)
    expected = reference(*(pooled(factor, side) for factor in factors))
    assert loss(s, t).item() == pytest.approx(expected, rel=1e-5)
    assert loss.pretraining_loss(t).item() == loss.pretraining_loss(grid(t)).item()


def test_vectors_have_no_factors():
    with pytest.raises(ValueError, match=r"\(2, 6, 4, 4\) \(student\) and \(2, 10\) \(teacher\) have no factors"):
        FT().build((2, 6, 4, 4), (2, 10))


def test_bad_values():
    with pytest.raises(ValueError, match="k must be a finite number above 0, got 0"):
        FT(k=0)
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        ft_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_one_sample():
    loss = built()
    assert loss(torch.randn(1, 6, 8, 8), torch.randn(1, 10, 8, 8)).item() > 0
    loss = built((2, 6, 1, 1), (2, 10, 1, 1))
    s = torch.randn(1, 6, 1, 1, requires_grad=True)
    value = loss(s, torch.randn(1, 10, 1, 1))
    value.backward()
    assert value.item() == 0
    assert s.grad.abs().sum() == 0
    value = loss.pretraining_loss(torch.randn(1, 10, 1, 1))
    value.backward()
    assert value.item() == 0
    assert loss.eval()(s, torch.randn(1, 10, 1, 1)).item() > 0


def test_half_precision(pair):
    s, t = pair
    low = ft_loss(s.bfloat16(), t.bfloat16())
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(reference(s.bfloat16().double(), t.bfloat16().double()), rel=1e-5)
    large = (1e4 * s).half().requires_grad_()  # the squares overflow in float16
    value = ft_loss(large, t.half())
    value.backward()
    assert value.item() == pytest.approx(reference(s, t), rel=1e-2)
    assert torch.isfinite(large.grad).all()


def test_autocast():
    loss = built().eval()
    s, t = torch.randn(4, 6, 8, 8), torch.randn(4, 10, 8, 8)
    expected, reconstruction = loss(s, t).item(), loss.pretraining_loss(t).item()
    with torch.autocast("cpu", torch.bfloat16):
        found, prepared = loss(s, t), loss.pretraining_loss(t)
    assert found.dtype == prepared.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=0.03)
    assert prepared.item() == pytest.approx(reconstruction, rel=0.03)


def test_compiles_without_graph_break():
    loss = built()
    loss.after_pretraining()
    s, t = torch.randn(2, 6, 8, 8), torch.randn(2, 10, 4, 4)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(s, t), loss(s, t))
    prepared = torch.compile(loss.pretraining_loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(prepared(t), loss.pretraining_loss(t))
