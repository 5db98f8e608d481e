import numpy as np
import pytest
import torch
from torch import nn

from distill.losses import FitNet, hint_loss
from distill.losses.adapters import adapter, as_map, grid, map_shape, match_size


def test_hint_loss_equals_the_formula():
    torch.manual_seed(0)
    s, t = torch.randn(3, 4, 5, 5, dtype=torch.float64), torch.randn(3, 4, 5, 5, dtype=torch.float64)
    assert hint_loss(s, t).item() == pytest.approx(((s.numpy() - t.numpy()) ** 2).mean(), rel=1e-12)
    assert hint_loss(s, s).item() == 0
    assert torch.autograd.gradcheck(lambda x: hint_loss(x, t), s.requires_grad_())
    with pytest.raises(ValueError, match=r"\(3, 4, 5, 5\) and \(3, 4\)"):
        hint_loss(s, torch.zeros(3, 4))


def test_fitnet_through_its_adapter():
    """conv 1×1 → BatchNorm (batch statistics) → ReLU → MSE, written out in numpy."""
    torch.manual_seed(0)
    loss = FitNet()
    loss.build(student_feature=(2, 3, 4, 4), teacher_feature=(2, 5, 4, 4))
    s, t = torch.randn(6, 3, 4, 4), torch.randn(6, 5, 4, 4).relu()
    weight = loss.adapter[0].weight.detach().numpy()[:, :, 0, 0]
    mapped = np.einsum("oc,nchw->nohw", weight, s.numpy())
    mean, var = mapped.mean((0, 2, 3), keepdims=True), mapped.var((0, 2, 3), keepdims=True)
    adapted = np.maximum((mapped - mean) / np.sqrt(var + 1e-5), 0)
    assert loss(s, t).item() == pytest.approx(((adapted - t.numpy()) ** 2).mean(), rel=1e-4)
    loss(s, t).backward()
    assert all(p.grad is not None for p in loss.parameters())


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((2, 3, 8, 8), (2, 5, 4, 4)), ((2, 3, 4, 4), (2, 5, 8, 8)), ((2, 7, 3), (2, 7, 6)), ((2, 3), (2, 6))],
)
def test_adapters_for_maps_tokens_and_vectors(student, teacher):
    """The larger map is pooled in numpy; tokens of one length and vectors are compared as they are."""
    loss = FitNet(relu=False)
    loss.build(student, teacher)
    assert not any(isinstance(m, nn.ReLU) for m in loss.modules())
    s, t = torch.randn(student), torch.randn(teacher)

    def pooled(x):
        return x if x.shape[-1] != 8 else torch.from_numpy(x.numpy().reshape(2, -1, 4, 2, 4, 2).mean((3, 5)))

    with torch.no_grad():
        adapted = loss.adapter(pooled(s)).numpy()
    assert loss(s, t).item() == pytest.approx(((adapted - pooled(t).numpy()) ** 2).mean(), rel=1e-5)


def test_the_larger_map_is_pooled_to_the_smaller():
    big, small = torch.arange(16.0).reshape(1, 1, 4, 4), torch.zeros(1, 2, 2, 2)
    pooled, same = match_size(big, small)
    assert pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert same is small
    assert match_size(small, big)[1].flatten().tolist() == pooled.flatten().tolist()


@pytest.mark.parametrize(("student", "teacher"), [((2, 3, 8, 8), (2, 5)), ((2, 7, 3), (2, 8, 3)), ((2, 3, 4), (2, 3))])
def test_shapes_that_do_not_match_are_shown(student, teacher):
    with pytest.raises(ValueError, match="cannot be matched") as error:
        adapter(student, teacher)
    assert str(student) in str(error.value)
    assert str(teacher) in str(error.value)


def pair_of(student, teacher, relu=True):
    """A FitNet built for two shapes, and features of these shapes."""
    torch.manual_seed(0)
    loss = FitNet(relu)
    loss.build(student_feature=student, teacher_feature=teacher)
    return loss, torch.randn(student), torch.randn(teacher).relu()


@pytest.mark.parametrize(
    ("length", "side"),
    [(1, 1), (4, 2), (5, 2), (16, 4), (17, 4), (24, 4), (49, 7), (50, 7), (196, 14), (197, 14), (198, 14), (201, 14)],
)
def test_side_of_the_grid_of_tokens(length, side):
    """With a class token, a distillation token, four registers, at most eight."""
    assert grid(length) == side
    assert map_shape((3, length, 5)) == (3, 5, side, side)


@pytest.mark.parametrize("length", [60, 90, 115, 210])
def test_tokens_that_are_no_grid(length):
    with pytest.raises(ValueError, match=f"{length} tokens are no square grid, whether or not up to 8 come before it"):
        grid(length)
    with pytest.raises(ValueError, match=f"{length} tokens are no square grid"):
        as_map(torch.zeros(2, length, 3))


def test_tokens_as_a_map():
    """Row by row, the prefix dropped; a map stays what it is; vectors are refused."""
    tokens = torch.arange(2 * 11 * 3.0).reshape(2, 11, 3)  # 2 + 9
    found = as_map(tokens)
    assert found.shape == (2, 3, 3, 3)
    for n in range(2):
        for i in range(9):
            assert torch.equal(found[n, :, i // 3, i % 3], tokens[n, 2 + i])
    assert as_map(found) is found
    assert map_shape((2, 3, 4, 5)) == (2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) are neither maps \(N, C, H, W\) nor tokens \(N, L, D\)"):
        as_map(torch.zeros(2, 3))


@pytest.mark.parametrize("size", [2, 4, 8])
def test_tokens_and_maps_are_matched(size):
    """The tokens' grid is 4 × 4 after a class token, and pooled or pooled to like any map."""
    loss, tokens, t = pair_of((4, 17, 3), (4, 5, size, size))
    grid_map = tokens[:, 1:].transpose(1, 2).reshape(4, 3, 4, 4)
    assert loss(tokens, t).item() == pytest.approx(loss(grid_map, t).item(), rel=1e-6)
    assert (
        loss(tokens + torch.nn.functional.pad(torch.ones(4, 1, 3), (0, 0, 0, 16)), t).item() == loss(tokens, t).item()
    )
    loss, s, tokens = pair_of((4, 3, size, size), (4, 17, 5))
    grid_map = tokens[:, 1:].transpose(1, 2).reshape(4, 5, 4, 4)
    assert loss(s, tokens).item() == pytest.approx(loss(s, grid_map).item(), rel=1e-6)


def test_tokens_of_one_length_keep_their_prefix():
    loss, s, t = pair_of((2, 17, 3), (2, 17, 5))
    moved = t.clone()
    moved[:, 0] += 1
    assert loss(s, moved).item() != pytest.approx(loss(s, t).item(), rel=1e-4)


@pytest.mark.parametrize(("student", "teacher"), [((2, 60, 3), (2, 5, 4, 4)), ((2, 3, 4, 4), (2, 60, 5))])
def test_tokens_without_a_grid_match_no_map(student, teacher):
    with pytest.raises(ValueError, match="cannot be matched: 60 tokens are no square grid") as error:
        FitNet().build(student, teacher)
    assert str(student) in str(error.value)
    assert str(teacher) in str(error.value)


def test_one_sample():
    loss, s, t = pair_of((1, 3, 4, 4), (1, 5, 4, 4))
    assert torch.isfinite(loss(s, t))


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((4, 3, 8, 8), (4, 5, 4, 4)), ((4, 17, 3), (4, 5, 4, 4)), ((4, 7, 3), (4, 7, 5)), ((4, 3), (4, 5))],
)
def test_autocast(student, teacher):
    """The adapter may run in bf16, the mean of squares does not; 2% of the value in float64."""
    loss, s, t = pair_of(student, teacher)
    expected = loss.double()(s.double(), t.double()).item()
    loss.float()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(s, t)
        assert hint_loss(s, 0 * s).item() == pytest.approx(s.double().square().mean().item(), rel=1e-6)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=0.02)
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters())


@pytest.mark.parametrize(("student", "teacher"), [((3, 8, 8), (5, 4, 4)), ((17, 3), (5, 4, 4)), ((3,), (5,))])
def test_compiles_in_one_graph(student, teacher):
    torch._dynamo.reset()
    loss, _, _ = pair_of((4, *student), (4, *teacher))
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for n in (4, 3):  # the last batch of an epoch is smaller
        s, t = torch.randn(n, *student), torch.randn(n, *teacher)
        assert compiled(s, t).item() == pytest.approx(loss(s, t).item(), rel=1e-6)


def test_half_precision():
    a, b = torch.randn(4, 8).bfloat16(), torch.randn(4, 8).bfloat16()
    assert hint_loss(a, b).dtype == torch.float32
    assert hint_loss(a, b).item() == pytest.approx(hint_loss(a.double(), b.double()).item(), rel=1e-4)
