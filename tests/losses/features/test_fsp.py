import numpy as np
import pytest
import torch

from distill.losses.features.fsp import FSP, fsp_loss


def pooled(f, height, width):
    """Average over the equal windows that make f (N, C, H, W) height × width."""
    n, c, h, w = f.shape
    return f.reshape(n, c, height, h // height, width, w // width).mean((3, 5))


def flow(a, b):
    height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    a, b = pooled(a, height, width), pooled(b, height, width)
    g = np.zeros((a.shape[0], a.shape[1], b.shape[1]))
    for y in range(height):
        for x in range(width):
            g += a[:, :, y, x][:, :, None] * b[:, :, y, x][:, None, :]
    return g / (height * width)


def reference(student, teacher):
    student, teacher = ([np.asarray(f) for f in side] for side in (student, teacher))
    total = 0.0
    for i in range(len(student) - 1):
        total += ((flow(*student[i : i + 2]) - flow(*teacher[i : i + 2])) ** 2).mean()
    return total


def features(*shapes):
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.fixture(params=[1, 3])
def pair(request):
    torch.manual_seed(0)
    n = request.param
    student = features((n, 2, 4, 8), (n, 3, 4, 8), (n, 5, 2, 4))
    return student, features((n, 2, 8, 8), (n, 3, 4, 4), (n, 5, 4, 4))


def test_equals_the_formula(pair):
    student, teacher = pair
    assert fsp_loss(student, teacher).item() == pytest.approx(reference(student, teacher), rel=1e-10)
    assert FSP()(student, teacher).item() == fsp_loss(student, teacher).item()


def test_a_sum_over_adjacent_stages(pair):
    student, teacher = pair
    parts = [fsp_loss(student[i : i + 2], teacher[i : i + 2]).item() for i in range(2)]
    assert fsp_loss(student, teacher).item() == pytest.approx(sum(parts), rel=1e-12)


def test_a_deeper_map_may_be_the_larger_one():
    torch.manual_seed(0)
    student = features((2, 2, 2, 2), (2, 3, 4, 4))
    teacher = features((2, 2, 2, 2), (2, 3, 4, 4))
    assert fsp_loss(student, teacher).item() == pytest.approx(reference(student, teacher), rel=1e-10)


def test_zero_at_equality_and_at_equal_flows(pair):
    student, teacher = pair
    assert fsp_loss(student, student).item() == 0
    assert fsp_loss(student, teacher).item() > 1e-3
    finer = [f.repeat_interleave(2, 2).repeat_interleave(2, 3) for f in student]
    assert fsp_loss(finer, student).item() == pytest.approx(0, abs=1e-12), "G does not depend on the size of the map"
    order = torch.randperm(32)
    moved = [f.flatten(2)[:, :, order].reshape(f.shape) for f in student[:2]]
    assert fsp_loss(moved, student[:2]).item() == pytest.approx(0, abs=1e-12), "nor on the order of the places"
    assert fsp_loss([2 * student[0], 0.5 * student[1]], student[:2]).item() == pytest.approx(0, abs=1e-12)


def test_gradient(pair):
    student, teacher = pair
    assert torch.autograd.gradcheck(
        lambda *f: fsp_loss(list(f), teacher), [f.clone().requires_grad_() for f in student]
    )


def test_tokens_are_maps_without_their_prefix():
    torch.manual_seed(0)
    tokens = features((2, 5, 3), (2, 5, 4))
    maps = [f[:, 1:].transpose(1, 2).reshape(2, -1, 2, 2) for f in tokens]
    teacher = features((2, 3, 4, 4), (2, 4, 2, 2))
    assert fsp_loss(tokens, teacher).item() == pytest.approx(reference(maps, teacher), rel=1e-10)


def test_half_precision_and_autocast(pair):
    student, teacher = ([f.bfloat16() for f in side] for side in pair)
    expected = reference([f.double() for f in student], [f.double() for f in teacher])
    student[0].requires_grad_()
    value = fsp_loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(student[0].grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        assert FSP()(student, teacher).item() == pytest.approx(expected, rel=1e-5)


def test_compiles_in_one_graph(pair):
    torch._dynamo.reset()
    compiled = torch.compile(FSP(), fullgraph=True, backend="eager")
    assert compiled(*pair).item() == pytest.approx(fsp_loss(*pair).item(), rel=1e-10)


def test_build_checks_the_shapes():
    good = [(2, 16, 32, 32), (2, 32, 16, 16)]
    FSP().build(good, [(2, 16, 8, 8), (2, 65, 32)])
    with pytest.raises(ValueError, match="as many channels") as error:
        FSP().build(good, [(2, 16, 32, 32), (2, 64, 16, 16)])
    assert "(2, 32, 16, 16) (student) and (2, 64, 16, 16) (teacher)" in str(error.value)
    with pytest.raises(ValueError, match=r"\(2, 32\) \(student\) and \(2, 32, 16, 16\) \(teacher\) .* neither maps"):
        FSP().build([good[0], (2, 32)], good)
    with pytest.raises(ValueError, match="at least 2 stages, .* got 1 and 1"):
        FSP().build(good[:1], good[:1])
    with pytest.raises(ValueError, match="at least 2 stages, .* got 2 and 1"):
        FSP().build(good, good[:1])


def test_the_function_checks_too():
    maps = [torch.ones(2, 3, 4, 4)] * 2
    with pytest.raises(ValueError, match="at least 2 stages, .* got 1 and 1"):
        fsp_loss(maps[:1], maps[:1])
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) \(student\) and \(2, 1, 4, 4\) \(teacher\)"):
        fsp_loss(maps, [maps[0], torch.ones(2, 1, 4, 4)])
    with pytest.raises(ValueError, match="same samples, got 2 and 1"):
        fsp_loss(maps, [torch.ones(1, 3, 4, 4)] * 2)
