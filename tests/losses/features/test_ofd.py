import re

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from distill.losses.features.ofd import OFD, batch_margin, bn_margin, ofd_loss


def reference(students, teachers, margins):
    """Σ_l 2^(l−L) / N · Σ of the partial squared distance, element by element."""
    total = 0.0
    stages = len(students)
    for level, (s, t, m) in enumerate(zip(students, teachers, margins, strict=True), 1):
        s, t, m = np.asarray(s), np.asarray(t), np.asarray(m).ravel()
        for i in np.ndindex(s.shape):
            target = max(t[i], m[i[1]])
            if not s[i] <= target <= 0:
                total += 2 ** (level - stages) * (s[i] - target) ** 2 / len(s)
    return total


def reference_margin(beta, gamma):
    """E[x | x < 0] of a normal variable by quadrature; −3·std where it is hardly ever negative."""
    normal = stats.norm(beta, abs(gamma))
    if normal.cdf(0) <= 0.001:
        return -3 * abs(gamma)
    low = min(0, beta) - 40 * abs(gamma)
    return integrate.quad(lambda x: x * normal.pdf(x), low, 0, limit=500, points=[beta] if low < beta < 0 else None)[
        0
    ] / normal.cdf(0)


@pytest.fixture
def stages():
    torch.manual_seed(0)
    shapes = [(3, 4, 4, 4), (3, 5, 2, 3), (3, 6, 1, 1)]
    s = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    t = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    return s, t, [-torch.rand(shape[1], 1, 1, dtype=torch.float64) for shape in shapes]


def built(student=((2, 3, 8, 8), (2, 6, 4, 4)), teacher=((2, 4, 8, 8), (2, 5, 4, 4))):
    torch.manual_seed(0)
    loss = OFD()
    loss.build(student, teacher)
    return loss


def test_equals_the_formula(stages):
    s, t, m = stages
    assert ofd_loss(s, t, m).item() == pytest.approx(reference(s, t, m), rel=1e-12)
    assert ofd_loss(s[:1], t[:1], m[:1]).item() == pytest.approx(reference(s[:1], t[:1], m[:1]), rel=1e-12)
    one = [x[:1] for x in s], [x[:1] for x in t], m
    assert ofd_loss(*one).item() == pytest.approx(reference(*one), rel=1e-12)


def test_is_a_mean_over_samples_and_a_sum_over_the_rest(stages):
    s, t, m = stages
    twice = ofd_loss([torch.cat([x, x]) for x in s], [torch.cat([x, x]) for x in t], m)
    assert twice.item() == pytest.approx(ofd_loss(s, t, m).item(), rel=1e-12)
    wide = ofd_loss([x.repeat(1, 1, 2, 2) for x in s], [x.repeat(1, 1, 2, 2) for x in t], m)
    assert wide.item() == pytest.approx(4 * ofd_loss(s, t, m).item(), rel=1e-12)


def test_stages_are_weighed_by_powers_of_two():
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    values = [ofd_loss([one if i == j else zero for i in range(3)], [zero] * 3, [zero[0]] * 3).item() for j in range(3)]
    assert values == [0.25, 0.5, 1.0]


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (-3.0, -1.0, 0.0),  # below the teacher's negative value: left alone
        (-0.5, -1.0, 0.25),  # above it: pulled down
        (-0.5, -9.0, 2.25),  # ... but to the margin −2 only
        (-2.5, -9.0, 0.0),  # below the margin
        (-3.0, 1.0, 16.0),  # a positive teacher counts on both sides
        (3.0, 1.0, 4.0),
    ],
)
def test_cases_of_the_partial_distance(student, teacher, expected):
    s, t = (torch.full((1, 1, 1, 1), x) for x in (student, teacher))
    assert ofd_loss([s], [t], [torch.full((1, 1, 1), -2.0)]).item() == expected


def test_minimum_and_gradient(stages):
    s, t, m = stages
    assert ofd_loss([x.clamp(min=0) + x.clamp(max=0) * 5 - 9 * (x < 0) for x in t], t, m).item() == pytest.approx(0)
    assert ofd_loss([torch.maximum(x, y) for x, y in zip(t, m, strict=True)], t, m).item() == 0
    assert torch.autograd.gradcheck(lambda *x: ofd_loss(x, t, m), tuple(x.requires_grad_() for x in s))


@pytest.mark.parametrize("beta", [-30.0, -2.0, -0.3, 0.0, 0.4, 2.9, 3.0, 3.2, 50.0])
@pytest.mark.parametrize("gamma", [1.0, -0.5])
def test_margin_of_a_batch_norm(beta, gamma):
    found = bn_margin(torch.tensor([beta * abs(gamma)]), torch.tensor([gamma]))
    assert found.item() == pytest.approx(reference_margin(beta * abs(gamma), gamma), rel=1e-5)


def test_margin_of_a_batch_norm_without_scale():
    found = bn_margin(torch.tensor([-2.0, 0.0, 3.0]), torch.zeros(3))
    torch.testing.assert_close(found, torch.tensor([-2.0, 0.0, 0.0]))


def test_margin_of_a_batch():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 5)
    x[:, 1] = x[:, 1].abs()
    found = batch_margin(x)
    assert found.shape == (3, 1, 1)
    values = x.numpy()
    assert found[0].item() == pytest.approx(values[:, 0][values[:, 0] < 0].mean(), rel=1e-5)
    assert found[1].item() == 0
    assert batch_margin(x.bfloat16()).dtype == torch.float32


def norms():
    torch.manual_seed(1)
    return [(torch.randn(4), torch.randn(4)), None]


def test_calibrated_stages_use_their_batch_norm_and_others_the_batch():
    loss = built()
    loss.calibrate(norms())
    s = [torch.randn(2, 3, 8, 8), torch.randn(2, 6, 4, 4)]
    t = [torch.randn(2, 4, 8, 8), torch.randn(2, 5, 4, 4)]
    loss.eval()
    with torch.no_grad():
        adapted = [connector(x).numpy() for connector, x in zip(loss.connectors, s, strict=True)]
    first = [reference_margin(b, g) for b, g in zip(*(x.tolist() for x in norms()[0]), strict=True)]
    second = [x[x < 0].mean() for x in t[1].numpy().swapaxes(0, 1)]
    assert loss(s, t).item() == pytest.approx(reference(adapted, [x.numpy() for x in t], [first, second]), rel=1e-4)
    loss.calibrate([None, None])
    assert loss(s, t).item() == pytest.approx(
        reference(adapted, t, [[x[x < 0].mean() for x in t[0].numpy().swapaxes(0, 1)], second]), rel=1e-4
    )


def test_margins_are_checkpointed_buffers():
    loss, fresh = built(), built()
    loss.calibrate(norms())
    assert {"margin0", "margin1"} == set(dict(loss.named_buffers(recurse=False)))
    fresh.load_state_dict(loss.state_dict())
    s = [torch.randn(2, 3, 8, 8), torch.randn(2, 6, 4, 4)]
    t = [torch.randn(2, 4, 8, 8), torch.randn(2, 5, 4, 4)]
    assert fresh(s, t).item() == loss(s, t).item()
    assert fresh(s, t).item() != built()(s, t).item()


def test_connectors():
    loss = built(((2, 3, 8, 8),), ((2, 400, 8, 8),))
    convolution, norm = loss.connectors[0]
    assert convolution.weight.shape == (400, 3, 1, 1)
    assert convolution.bias is None
    assert convolution.weight.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.1)
    assert norm.num_features == 400
    loss([torch.randn(2, 3, 8, 8)], [torch.randn(2, 400, 8, 8)]).backward()
    assert all(p.grad is not None for p in loss.parameters())


def test_the_larger_map_is_pooled():
    loss = built(((2, 3, 4, 4),), ((2, 3, 8, 8),)).eval()
    loss.calibrate([(torch.zeros(3), torch.ones(3))])
    s, t = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)
    pooled = t.reshape(2, 3, 4, 2, 4, 2).mean((3, 5))
    assert loss([s], [t]).item() == pytest.approx(loss([s], [pooled]).item(), rel=1e-5)


def test_tokens():
    """A class token, which is dropped, and a 4 × 4 grid."""
    loss = built(((2, 3, 8, 8),), ((2, 17, 5),))
    s, t = torch.randn(2, 3, 8, 8), torch.randn(2, 17, 5)
    grid = t[:, 1:].transpose(1, 2).reshape(2, 5, 4, 4)
    assert loss([s], [t]).item() == pytest.approx(loss([s], [grid]).item(), rel=1e-6)
    loss = built(((2, 17, 3),), ((2, 5, 4, 4),))
    s, t = torch.randn(2, 17, 3), torch.randn(2, 5, 4, 4)
    grid = s[:, 1:].transpose(1, 2).reshape(2, 3, 4, 4)
    assert loss([s], [t]).item() == pytest.approx(loss([grid], [t]).item(), rel=1e-6)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\) \(student\) and \(2, 5\) \(teacher\) cannot be matched"):
        OFD().build(((2, 3, 8, 8),), ((2, 5),))
    with pytest.raises(ValueError, match="margins must have 1 entries, one per stage, got 2"):
        ofd_loss([torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 1, 1)] * 2)
    with pytest.raises(ValueError, match=r"same shape, got \(1, 2, 1, 1\) and \(1, 1, 1, 1\)"):
        ofd_loss([torch.zeros(1, 2, 1, 1)], [torch.zeros(1, 1, 1, 1)], [torch.zeros(1, 1, 1)])
    with pytest.raises(ValueError, match="at least 1 stage, .* got 0 and 0"):
        ofd_loss([], [], [])
    maps = [torch.zeros(2, 3, 3, 3)]
    for shape in ((3,), (1, 1, 1), (3, 1)):
        with pytest.raises(
            ValueError, match=rf"margins\[0\] must have shape \(3, 1, 1\), .* got {re.escape(str(shape))}"
        ):
            ofd_loss(maps, maps, [torch.zeros(shape)])
    with pytest.raises(ValueError, match="2 entries, one per stage, got 1"):
        built().calibrate([None])
    with pytest.raises(ValueError, match=r"teacher_norms\[1\] must be two tensors of shape \(5,\), got \(4,\) and"):
        built().calibrate([None, (torch.zeros(4), torch.zeros(4))])


def test_one_sample():
    loss = built(((2, 3, 1, 1),), ((2, 4, 1, 1),))
    s = torch.randn(1, 3, 1, 1, requires_grad=True)
    value = loss([s], [torch.randn(1, 4, 1, 1)])
    value.backward()
    assert value.item() == 0
    assert s.grad.abs().sum() == 0
    assert built()(
        [torch.randn(1, 3, 8, 8), torch.randn(1, 6, 4, 4)], [torch.randn(1, 4, 8, 8), torch.randn(1, 5, 4, 4)]
    )


def test_half_precision(stages):
    s, t, m = ([x.bfloat16() for x in part] for part in stages)
    low = ofd_loss(s, t, m)
    assert low.dtype == torch.float32
    exact = reference(*([x.double() for x in part] for part in (s, t, m)))
    assert low.item() == pytest.approx(exact, rel=1e-5)
    large = [(300 * x).half().requires_grad_() for x in stages[0]]  # the sum of squares overflows in float16
    value = ofd_loss(large, [x.half() for x in stages[1]], [x.half() for x in stages[2]])
    value.backward()
    assert torch.isfinite(value)
    assert all(torch.isfinite(x.grad).all() for x in large)


def test_autocast():
    loss = built().eval()
    s = [torch.randn(2, 3, 8, 8), torch.randn(2, 6, 4, 4)]
    t = [torch.randn(2, 4, 8, 8), torch.randn(2, 5, 4, 4)]
    expected = loss(s, t).item()
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(s, t)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=0.03)


def test_compiles_without_graph_break():
    loss = built()
    loss.calibrate(norms())
    s = [torch.randn(2, 3, 8, 8), torch.randn(2, 6, 4, 4)]
    t = [torch.randn(2, 4, 8, 8), torch.randn(2, 5, 8, 8)]
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(s, t), loss(s, t))
