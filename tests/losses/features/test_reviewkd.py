import numpy as np
import pytest
import torch

from distill.losses.features.reviewkd import ABF, ReviewKD, reviewkd_loss

STUDENT = ((2, 4, 8, 8), (2, 6, 4, 4), (2, 8, 2, 2))
TEACHER = ((2, 5, 8, 8), (2, 7, 4, 4), (2, 9, 2, 2))


def pooled(x, size):
    """Adaptive average pooling to size × size, window by window."""
    n, c, h, w = x.shape
    out = np.zeros((n, c, size, size))
    for i in range(size):
        for j in range(size):
            rows = slice(i * h // size, -(-(i + 1) * h // size))
            columns = slice(j * w // size, -(-(j + 1) * w // size))
            out[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return out


def reference(students, teachers):
    total = 0.0
    for s, t in zip(students, teachers, strict=True):
        s, t = np.asarray(s), np.asarray(t)
        parts, weights = [((s - t) ** 2).mean()], [1.0]
        for size in (4, 2, 1):
            if size < min(s.shape[2:]):
                parts.append(((pooled(s, size) - pooled(t, size)) ** 2).mean())
                weights.append(weights[-1] / 2)
        total += np.dot(parts, weights) / sum(weights)
    return total


def random(shapes, **kwargs):
    return [torch.randn(shape, **kwargs) for shape in shapes]


def built(student=STUDENT, teacher=TEACHER, embeddings=((2, 8), (2, 9)), **kwargs):
    torch.manual_seed(0)
    loss = ReviewKD(**kwargs)
    loss.build(student, teacher, *embeddings)
    return loss


@pytest.mark.parametrize("size", [(8, 8), (4, 4), (7, 7), (3, 3), (2, 2), (1, 1), (8, 2), (5, 3)])
def test_equals_the_formula(size):
    torch.manual_seed(0)
    s, t = (random([(3, 4, *size), (3, 2, 1, 1)], dtype=torch.float64) for _ in range(2))
    assert reviewkd_loss(s, t).item() == pytest.approx(reference(s, t), rel=1e-12)
    assert reviewkd_loss(s, s).item() == 0
    one = [x[:1] for x in s], [x[:1] for x in t]
    assert reviewkd_loss(*one).item() == pytest.approx(reference(*one), rel=1e-12)


def test_weights_of_the_sizes():
    """A pattern that pooling to 4×4 averages away counts 1 / 1.875; a constant counts fully."""
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).mul(2.0).sub(1).expand(1, 1, 8, 8)
    assert reviewkd_loss([board], [torch.zeros(1, 1, 8, 8)]).item() == pytest.approx(1 / 1.875)
    assert reviewkd_loss([torch.ones(1, 1, 8, 8)], [torch.zeros(1, 1, 8, 8)]).item() == pytest.approx(1)
    assert reviewkd_loss([board[:, :, :4, :4]], [torch.zeros(1, 1, 4, 4)]).item() == pytest.approx(1 / 1.75)


def test_gradient():
    torch.manual_seed(0)
    s, t = (random([(2, 2, 5, 5), (2, 3, 1, 1)], dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda *x: reviewkd_loss(x, t), tuple(x.requires_grad_() for x in s))


def normed(x, norm):
    """BatchNorm in eval mode."""
    mean, var, gamma, beta = (
        v.detach().numpy()[:, None, None] for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / np.sqrt(var + norm.eps) * gamma + beta


def convolved(x, weight, bias=None):
    """Convolution that keeps the size, tap by tap."""
    k = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (k, k), (k, k)))
    h, w = x.shape[2:]
    out = sum(
        np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + h, j : j + w])
        for i in range(2 * k + 1)
        for j in range(2 * k + 1)
    )
    return out if bias is None else out + bias[:, None, None]


def nearest(x, h, w):
    rows, columns = np.arange(h) * x.shape[2] // h, np.arange(w) * x.shape[3] // w
    return x[:, :, rows][:, :, :, columns]


def reference_fusion(fusion, feature, deeper, size):
    weights = {name: p.detach().numpy() for name, p in fusion.named_parameters()}
    x = normed(convolved(feature, weights["inside.0.weight"]), fusion.inside[1])
    if deeper is not None:
        deeper = nearest(deeper, *x.shape[2:])
        share = convolved(np.concatenate([x, deeper], 1), weights["attention.weight"], weights["attention.bias"])
        share = 1 / (1 + np.exp(-share))
        x = x * share[:, :1] + deeper * share[:, 1:]
    x = nearest(x, *size)
    return normed(convolved(x, weights["outside.0.weight"]), fusion.outside[1]), x


@pytest.mark.parametrize("embeddings", [((2, 8), (2, 9)), (None, None)])
@pytest.mark.parametrize("teacher", [TEACHER, ((2, 5, 16, 16), (2, 7, 8, 8), (2, 9, 1, 1))])
def test_fuses_from_deep_to_shallow(embeddings, teacher):
    loss = built(teacher=teacher, embeddings=embeddings)
    s, t = random(STUDENT), random(teacher)
    e = [torch.randn(shape) for shape in embeddings if shape]
    loss(s, t, *e)  # running statistics that are not 0 and 1
    loss.eval()
    students, teachers = [x.numpy() for x in s], [x.numpy() for x in t]
    if e:
        students.append(e[0].numpy()[:, :, None, None])
        teachers.append(e[1].numpy()[:, :, None, None])
    fused, deeper = [], None
    for i in reversed(range(len(students))):
        out, deeper = reference_fusion(loss.fusions[i], students[i], deeper, teachers[i].shape[2:])
        fused.insert(0, out)
    assert loss(s, t, *e).item() == pytest.approx(reference(fused, teachers), rel=1e-4)


def test_deep_stages_learn_from_shallow_ones_and_all_parameters_learn():
    loss = built()
    s, e = [x.requires_grad_() for x in random(STUDENT)], torch.randn(2, 8, requires_grad=True)
    t = random(TEACHER)
    loss(s, t, e, torch.randn(2, 9)).backward()
    assert all(p.grad is not None for p in loss.parameters())
    with torch.no_grad():
        for fusion in list(loss.fusions)[1:]:  # only the shallowest stage is compared with anything of the student's
            fusion.outside[0].weight.zero_()
    for x in (*s, e):
        (gradient,) = torch.autograd.grad(loss(s, t, e, torch.randn(2, 9)), x)
        assert gradient.abs().sum() > 1e-6


@pytest.mark.parametrize(("embedding", "most", "mid"), [((2, 8), 512, 8), ((2, 1280), 512, 512), ((2, 8), 4, 4)])
def test_width_of_the_fusion(embedding, most, mid):
    loss = built(embeddings=(embedding, (2, 9)), max_mid_channels=most)
    assert {fusion.inside[0].out_channels for fusion in loss.fusions} == {mid}
    assert [fusion.outside[0].out_channels for fusion in loss.fusions] == [5, 7, 9, 9]
    assert [fusion.attention is None for fusion in loss.fusions] == [False, False, False, True]


def test_initialisation_of_the_fusion():
    bound = (6 / (2 * 500)) ** 0.5  # Kaiming, uniform, a = 1: √(3 · 2 / (1 + a²) / fan_in)
    weight = ABF(500, 40, 3, fuse=False).inside[0].weight
    assert bound * 0.99 < weight.abs().max().item() <= bound


def test_tokens():
    """Grids of 8 × 8 and 4 × 4 after a class token, and of 2 × 2."""
    loss = built(teacher=((2, 65, 5), (2, 17, 7), (2, 4, 9)))
    s, t, embeddings = random(STUDENT), random(((2, 65, 5), (2, 17, 7), (2, 4, 9))), random(((2, 8), (2, 9)))
    grids = [
        x[:, -side * side :].transpose(1, 2).reshape(2, -1, side, side) for x, side in zip(t, (8, 4, 2), strict=True)
    ]
    assert loss(s, t, *embeddings).item() == pytest.approx(loss(s, grids, *embeddings).item(), rel=1e-6)


def test_an_embedding_of_one_side_alone_is_no_level():
    loss = built(embeddings=((2, 8), None))
    assert len(loss.fusions) == 3
    assert torch.isfinite(loss(random(STUDENT), random(TEACHER), torch.randn(2, 8), None))


def test_bad_shapes_and_values():
    with pytest.raises(ValueError, match=r"\(2, 4, 8, 8\) \(student\) and \(2, 5\) \(teacher\) cannot be matched"):
        ReviewKD().build(((2, 4, 8, 8),), ((2, 5),))
    with pytest.raises(ValueError, match="at least 1 stage, .* got 1 and 2"):
        reviewkd_loss([torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 1, 1, 1)] * 2)
    with pytest.raises(ValueError, match="at least 1 stage, .* got 0 and 0"):
        reviewkd_loss([], [])
    with pytest.raises(ValueError, match="max_mid_channels must be an integer of at least 1, got 0.5"):
        ReviewKD(max_mid_channels=0.5)
    with pytest.raises(ValueError, match=r"same shape, got \(1, 2, 1, 1\) and \(1, 1, 1, 1\)"):
        reviewkd_loss([torch.zeros(1, 2, 1, 1)], [torch.zeros(1, 1, 1, 1)])
    with pytest.raises(ValueError, match="max_mid_channels must be an integer of at least 1, got 0"):
        ReviewKD(max_mid_channels=0)


def test_one_sample():
    loss = built()
    s, t = [x[:1].requires_grad_() for x in random(STUDENT)], [x[:1] for x in random(TEACHER)]
    value = loss(s, t, torch.randn(1, 8), torch.randn(1, 9))  # BatchNorm of one 1×1 map is not defined
    value.backward()
    assert value.item() == 0
    assert all(x.grad.abs().sum() == 0 for x in s)
    assert loss.eval()(s, t, torch.randn(1, 8), torch.randn(1, 9)).item() > 0
    assert built(embeddings=(None, None))(s, t).item() > 0


def test_half_precision():
    torch.manual_seed(0)
    s, t = (random([(3, 4, 8, 8), (3, 2, 1, 1)]) for _ in range(2))
    low = reviewkd_loss([x.bfloat16() for x in s], [x.bfloat16() for x in t])
    assert low.dtype == torch.float32
    exact = reference(*([x.bfloat16().double() for x in part] for part in (s, t)))
    assert low.item() == pytest.approx(exact, rel=1e-5)


def test_autocast():
    loss = built().eval()
    values = random(STUDENT), random(TEACHER), torch.randn(2, 8), torch.randn(2, 9)
    expected = loss(*values).item()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(*values)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=0.03)


def test_compiles_without_graph_break():
    loss = built()
    values = random(STUDENT), random(TEACHER), torch.randn(2, 8), torch.randn(2, 9)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*values), loss(*values))
