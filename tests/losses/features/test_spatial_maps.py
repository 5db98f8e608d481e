"""AT and NST compare maps whose channels may differ, without an adapter: tokens, precision, compilation, shapes."""

import pytest
import torch

from distill.losses import AT, NST, at_loss, nst_loss

LOSSES = [pytest.param(AT, at_loss, id="at"), pytest.param(NST, nst_loss, id="nst")]
HALF = {AT: 1e-5, NST: 1e-4}  # relative; NST sums products over all pairs of channels
SHAPES = [((3, 4, 4, 5), (3, 6, 4, 5)), ((3, 12, 2, 3), (3, 9, 2, 3)), ((1, 40, 3, 3), (1, 2, 3, 3))]


def maps(student, teacher, dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(student, dtype=dtype), 2 * torch.randn(teacher, dtype=dtype)


@pytest.mark.parametrize(("module", "loss"), LOSSES)
def test_tokens_are_maps_without_their_prefix(module, loss):
    tokens, t = maps((2, 17, 5), (2, 3, 4, 4))
    grid = tokens[:, 1:].transpose(1, 2).reshape(2, 5, 4, 4)
    assert loss(tokens, t).item() == pytest.approx(loss(grid, t).item(), rel=1e-10)
    assert loss(t, tokens).item() == pytest.approx(loss(t, grid).item(), rel=1e-10)
    prefixed = torch.cat([torch.zeros(2, 3, 5), tokens], 1)
    assert loss(tokens, prefixed).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("module", "loss"), LOSSES)
@pytest.mark.parametrize("shapes", SHAPES)
def test_half_precision_and_autocast(module, loss, shapes):
    """Against float64 of the same rounded numbers, of which each loss's own test is against its formula."""
    s, t = maps(*shapes, torch.bfloat16)
    expected = loss(s.double(), t.double()).item()
    s.requires_grad_()
    value = loss(s, t)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=HALF[module])
    assert torch.isfinite(s.grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert module()(s, t).item() == pytest.approx(expected, rel=HALF[module])


@pytest.mark.parametrize(("module", "loss"), LOSSES)
@pytest.mark.parametrize("student", [(3, 4, 4), (25, 3)], ids=["map", "tokens"])
def test_compiles_in_one_graph(module, loss, student):
    torch._dynamo.reset()
    compiled = torch.compile(module(), fullgraph=True, backend="eager")
    for n in (4, 3, 1):  # the last batch of an epoch is smaller
        s, t = maps((n, *student), (n, 5, 2, 2), torch.float32)
        assert compiled(s, t).item() == pytest.approx(loss(s, t).item(), rel=1e-6)


@pytest.mark.parametrize(("module", "loss"), LOSSES)
def test_bad_shapes(module, loss):
    with pytest.raises(ValueError, match="same samples, got 2 and 3"):
        loss(torch.ones(2, 1, 4, 4), torch.ones(3, 1, 4, 4))
    with pytest.raises(ValueError, match=r"shape \(2, 8\) are neither maps"):
        loss(torch.ones(2, 8), torch.ones(2, 8))
    with pytest.raises(ValueError, match="60 tokens are no square grid"):
        loss(torch.ones(2, 60, 8), torch.ones(2, 60, 8))
