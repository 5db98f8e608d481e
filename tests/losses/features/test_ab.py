import numpy as np
import pytest
import torch
from torch import nn

from distill.losses.features.ab import AB, ab_loss


def reference(student, teacher, margin=1.0, scale=3e-3):
    """scale · Σ_l 2^(l − L) · mean_n Σ (margin − sign · s)₊², neuron by neuron."""
    stages = len(student)
    total = 0.0
    for stage, (s, t) in enumerate(zip(student, teacher, strict=True), start=1):
        s, t = np.asarray(s).reshape(len(s), -1), np.asarray(t).reshape(len(t), -1)
        for n in range(len(s)):
            for a, b in zip(s[n], t[n], strict=True):
                short = margin - a if b > 0 else margin + a
                total += max(0.0, short) ** 2 * 2.0 ** (stage - stages) / len(s)
    return scale * total


def features(*shapes):
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.fixture(params=[1, 3])
def pair(request):
    torch.manual_seed(0)
    shapes = [(request.param, 2, 4, 4), (request.param, 3, 2, 2), (request.param, 4, 1, 2)]
    return features(*shapes), features(*shapes)


@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_equals_the_formula(pair, margin):
    student, teacher = pair
    assert ab_loss(student, teacher, margin).item() == pytest.approx(reference(student, teacher, margin), rel=1e-10)
    assert AB(margin).margin == margin


def test_defaults_are_the_papers(pair):
    student, teacher = pair
    expected = reference(student, teacher, margin=1.0, scale=3 / 1000)
    loss = AB()
    loss.build([s.shape for s in student], [t.shape for t in teacher])
    assert ab_loss(student, teacher).item() == loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)
    loss.margin, loss.scale = 2.0, 1.0  # as a schedule sets them
    assert loss(student, teacher).item() == pytest.approx(reference(student, teacher, 2.0, 1.0), rel=1e-10)


def test_the_deepest_stage_weighs_most():
    one = [torch.zeros(1, 1)] * 3
    assert ab_loss(one, one, scale=1.0).item() == pytest.approx(0.25 + 0.5 + 1)
    right = torch.full((1, 1), -1.0)
    assert ab_loss([right, right, one[0]], one, scale=1.0).item() == pytest.approx(1)
    assert ab_loss([one[0], right, right], one, scale=1.0).item() == pytest.approx(0.25)


def test_only_the_side_of_the_boundary_counts(pair):
    student, teacher = pair
    value = ab_loss(student, teacher).item()
    assert ab_loss(student, [t * 100 for t in teacher]).item() == pytest.approx(value, rel=1e-12)
    assert ab_loss(student, [-t for t in teacher]).item() != pytest.approx(value, rel=1e-3)
    beyond = [torch.where(t > 0, 1.0, -1.0) * (1 + t.abs()) for t in teacher]
    assert ab_loss(beyond, teacher).item() == 0
    assert ab_loss([0.999 * b.sign() for b in beyond], teacher).item() > 0


def test_a_teacher_at_zero_is_not_active():
    assert ab_loss([torch.full((1, 1), -1.0)], [torch.zeros(1, 1)]).item() == 0
    assert ab_loss([torch.full((1, 1), 1.0)], [torch.zeros(1, 1)], scale=1.0).item() == 4


def test_mean_over_samples_not_over_neurons(pair):
    student, teacher = pair
    twice = ab_loss([torch.cat([s, s]) for s in student], [torch.cat([t, t]) for t in teacher])
    assert twice.item() == pytest.approx(ab_loss(student, teacher).item(), rel=1e-12)
    wider = ab_loss([torch.cat([s, s], 1) for s in student], [torch.cat([t, t], 1) for t in teacher])
    assert wider.item() == pytest.approx(2 * ab_loss(student, teacher).item(), rel=1e-12)


def test_gradient(pair):
    student, teacher = pair
    assert torch.autograd.gradcheck(lambda *s: ab_loss(list(s), teacher), [s.clone().requires_grad_() for s in student])


def test_through_the_connectors():
    """1×1 convolution and BatchNorm (batch statistics), no ReLU, on the student's; larger maps pooled first."""
    torch.manual_seed(0)
    loss = AB().double()
    student, teacher = features((4, 2, 4, 4), (4, 3, 2, 2)), features((4, 5, 2, 2), (4, 6, 4, 4))
    loss.build([s.shape for s in student], [t.shape for t in teacher])
    loss.double()

    def pooled(x):
        return x.reshape(4, -1, 2, 2, 2, 2).mean((3, 5))

    adapted = []
    for connector, s in zip(loss.connectors, (pooled(student[0].numpy()), student[1].numpy()), strict=True):
        assert not any(isinstance(m, nn.ReLU) for m in connector.modules())
        mapped = np.einsum("oc,nchw->nohw", connector[0].weight.detach().numpy()[:, :, 0, 0], s)
        mean, var = mapped.mean((0, 2, 3), keepdims=True), mapped.var((0, 2, 3), keepdims=True)
        adapted.append((mapped - mean) / np.sqrt(var + 1e-5))
    expected = reference(adapted, [teacher[0], pooled(teacher[1].numpy())])
    value = loss(student, teacher)
    assert value.item() == pytest.approx(expected, rel=1e-10)
    value.backward()
    assert len(list(loss.parameters())) == 6
    assert all(p.grad is not None for p in loss.parameters())


def test_equal_channels_need_no_connector():
    loss = AB()
    loss.build([(2, 4, 8, 8), (2, 4, 8, 8), (2, 7, 4)], [(2, 4, 4, 4), (2, 5, 8, 8), (2, 7, 4)])
    assert [isinstance(c, nn.Identity) for c in loss.connectors] == [True, False, True]
    loss.build([(2, 4, 8, 8)], [(2, 4, 8, 8)])
    assert len(loss.connectors) == 1, "a second build starts anew"


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((2, 4, 4, 4), (2, 17, 6)), ((2, 17, 6), (2, 4, 4, 4)), ((2, 9, 4), (2, 9, 6)), ((2, 4), (2, 6))],
)
def test_maps_tokens_and_vectors(student, teacher):
    """Tokens beside a map are a 4 × 4 grid after a class token; two of one kind stay as they are."""
    loss = AB()
    loss.build([student], [teacher])
    s, t = torch.randn(student), torch.randn(teacher)
    if {len(student), len(teacher)} == {3, 4}:
        grids = [x if x.dim() == 4 else x[:, 1:].transpose(1, 2).reshape(2, -1, 4, 4) for x in (s, t)]
        assert loss([s], [t]).item() == pytest.approx(loss([grids[0]], [grids[1]]).item(), rel=1e-6)
        s, t = grids
    adapted = loss.connectors[0](s).detach()
    assert loss([s], [t]).item() == pytest.approx(reference([adapted], [t]), rel=1e-5)


def test_half_precision_and_autocast(pair):
    student, teacher = ([f.bfloat16() for f in side] for side in pair)
    expected = reference([s.double() for s in student], [t.double() for t in teacher])
    student[0].requires_grad_()
    value = ab_loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert torch.isfinite(student[0].grad).all()
    loss = AB()
    loss.build([(2, 3, 4, 4)], [(2, 5, 4, 4)])
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    full = loss([s], [t]).item()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss([s], [t])
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(full, rel=0.02), "the connector runs in bf16"
    value.backward()
    assert all(torch.isfinite(p.grad).all() for p in loss.parameters())


def test_compiles_in_one_graph():
    torch._dynamo.reset()
    torch.manual_seed(0)
    loss = AB()
    shapes = [(2, 3, 8, 8), (2, 4, 4, 4)], [(2, 5, 4, 4), (2, 4, 4, 4)]
    loss.build(*shapes)
    student, teacher = ([torch.randn(shape) for shape in side] for side in shapes)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    assert compiled(student, teacher).item() == pytest.approx(loss(student, teacher).item(), rel=1e-6)


@pytest.mark.parametrize("name", ["margin", "scale"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_bad_values(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0, got {value}"):
        AB(**{name: value})
    with pytest.raises(ValueError, match=f"{name} must be a finite number above 0, got {value}"):
        ab_loss([torch.ones(1, 1)], [torch.ones(1, 1)], **{name: value})


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"student_preactivations\[1\] .* \(2, 3\) and \(2, 4\)"):
        ab_loss([torch.ones(2, 3)] * 2, [torch.ones(2, 3), torch.ones(2, 4)])
    with pytest.raises(ValueError, match="at least 1 stage, .* got 1 and 2"):
        ab_loss([torch.ones(2, 3)], [torch.ones(2, 3)] * 2)
    with pytest.raises(ValueError, match="at least 1 stage, .* got 0 and 0"):
        AB().build([], [])
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\) \(student\) and \(2, 5\) \(teacher\) cannot be matched"):
        AB().build([(2, 3, 4, 4)], [(2, 5)])
