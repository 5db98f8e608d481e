import copy
import math

import numpy as np
import pytest
import torch

from crd_reference import D_S, D_T, DIM, SAMPLES, N, Reference, batch, built, projected, state
from distill.losses.relations.crd import CRD, nce_loss


def test_equals_the_formula_over_several_steps():
    """Value, banks, labels and Z; six of twenty samples a step, so later steps meet seen and unseen ones."""
    loss = built(momentum=0.3, tau=0.2)
    reference = Reference(loss)
    for step in range(14):
        expected = reference(*batch(step))
        assert loss(*batch(step)).item() == pytest.approx(expected, rel=1e-4)
        np.testing.assert_allclose(loss.student_bank.numpy(), reference.banks[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(loss.teacher_bank.numpy(), reference.banks[1], rtol=1e-4, atol=1e-6)
        assert loss.labels.tolist() == reference.labels
        np.testing.assert_allclose(loss.log_z.numpy(), np.log(reference.z), rtol=1e-5)
    assert (loss.labels >= 0).all()


def test_evaluation_uses_own_positives_and_writes_nothing():
    """Its indices belong to another split: far out of range here."""
    loss = built()
    for step in range(3):
        loss(*batch(step))
    reference = Reference(loss)
    reference.labels = loss.labels.tolist()
    reference.z = loss.log_z.exp().tolist()
    before = state(loss)
    loss.eval()
    s, t, target, index = batch(9)
    value = loss(s, t, target, index + 10**6)
    assert value.item() == pytest.approx(reference(s, t, target, index, training=False), rel=1e-4)
    assert all(torch.equal(before[name], value) for name, value in loss.state_dict().items())


def test_evaluation_before_training_leaves_z_open():
    loss = built().eval()
    assert torch.isfinite(loss(*batch(0)))
    assert loss.log_z.isinf().all()


def test_k_negatives_are_drawn():
    """K of 20: c = K / 20; the seed decides which, and no index twice."""
    few, all_of_them = built(K=5), built(K=10**6)
    torch.manual_seed(7)
    drawn = torch.randperm(SAMPLES)[:5]
    torch.manual_seed(7)
    found = few(*batch(0)).item()
    torch.manual_seed(8)
    assert copy.deepcopy(built(K=5))(*batch(0)).item() != found
    reference = Reference(built(K=5))
    s, t, _, index = batch(0)
    values = []
    for anchors, others, bank in (
        (projected(few.student_head, s), projected(few.teacher_head, t), reference.banks[1]),
        (projected(few.teacher_head, t), projected(few.student_head, s), reference.banks[0]),
    ):
        rows = [
            [math.exp(a @ b / 0.07) for b in [others[n], *(bank[k] for k in drawn.tolist() if k != index[n])]]
            for n, a in enumerate(anchors)
        ]
        z = np.mean([value for row in rows for value in row]) * SAMPLES
        c = 5 / SAMPLES
        rows = [[value / z for value in row] for row in rows]
        values.append(sum(math.log1p(c / row[0]) + sum(math.log1p(q / c) for q in row[1:]) for row in rows) / N)
    assert found == pytest.approx(sum(values), rel=1e-4)
    assert Reference(all_of_them)(*batch(0)) == pytest.approx(all_of_them(*batch(0)).item(), rel=1e-4)


def test_the_initial_banks_are_near_the_sphere():
    torch.manual_seed(0)
    loss = CRD()
    loss.build((2, 8), (2, 8), num_samples=1000)
    assert loss.student_bank.shape == (1000, 128)
    assert loss.student_bank.norm(dim=1).mean().item() == pytest.approx(1, abs=0.01)
    assert loss.student_bank.abs().max().item() <= math.sqrt(3 / 128)
    assert not torch.equal(loss.student_bank, loss.teacher_bank)


def test_resumes_exactly():
    """From a saved state, in a fresh module with other initial values."""
    loss = built(K=7)
    for step in range(3):
        loss(*batch(step))
    saved = state(loss)
    torch.manual_seed(99)
    resumed = CRD(dim=DIM, K=7)
    resumed.build((N, D_S), (N, D_T), num_samples=SAMPLES)
    resumed.load_state_dict(saved)
    for step in range(3, 6):
        values = []
        for module in (loss, resumed):
            torch.manual_seed(step)
            values.append(module(*batch(step)))
        assert values[0] == values[1]
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in loss.state_dict().items())


def test_gradients_reach_student_and_heads_and_no_buffer():
    loss = built()
    loss(*batch(0))
    s, t, target, index = batch(1)
    loss(s.requires_grad_(), t, target, index).backward()
    assert s.grad.abs().sum() > 0
    assert all(p.grad.abs().sum() > 0 for p in loss.parameters())
    assert {name for name, _ in loss.named_parameters()} == {
        f"{side}_head.{name}" for side in ("student", "teacher") for name in ("weight", "bias")
    }
    assert not any(buffer.requires_grad for buffer in loss.buffers())


def test_own_positives_take_no_gradient():
    """The student's gradient is that of its own side, also where the teacher's positive is its embedding."""
    loss = built()
    s, t, target, index = batch(0)
    found, expected = s.clone().requires_grad_(), s.clone().requires_grad_()
    bank = loss.teacher_bank.clone()
    loss(found, t, target, index).backward()
    anchor, own = (
        torch.nn.functional.normalize(head(x)) for head, x in ((loss.student_head, expected), (loss.teacher_head, t))
    )
    scores = torch.cat([(anchor * own.detach()).sum(dim=1, keepdim=True), anchor @ bank.T], dim=1) / loss.tau
    allowed = torch.nn.functional.pad(torch.arange(SAMPLES) != index[:, None], (1, 0), value=True)
    nce_loss(scores, allowed, loss.log_z[0], 1.0).backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_gradient_is_right():
    torch.manual_seed(0)
    scores = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    allowed = torch.rand(3, 4) < 0.7
    assert torch.autograd.gradcheck(lambda x: nce_loss(x, allowed, x.new_tensor(1.0), 0.3), scores)
    loss = built().double()
    for step in range(4):  # every sample is in the bank: positives come from there
        loss(*(x.double() if x.is_floating_point() else x for x in batch(step)))
    s, t, target, index = batch(1)

    def value(x):
        torch.manual_seed(0)
        return copy.deepcopy(loss)(x, t.double(), target, index)

    assert (loss.labels.index_select(0, index) >= 0).all()
    assert torch.autograd.gradcheck(value, s.double().requires_grad_())


def test_learns_to_match():
    """The student's free embeddings come to find their own sample among the teacher's."""
    torch.manual_seed(0)
    loss = CRD(dim=16)
    loss.build((32, 16), (32, 16), num_samples=32)
    s, t = torch.randn(32, 16).requires_grad_(), torch.randn(32, 16)
    target, index = torch.arange(32), torch.arange(32)
    optimizer = torch.optim.Adam([s, *loss.parameters()], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        loss(s, t, target, index).backward()
        optimizer.step()
    nearest = (loss.student_bank @ loss.teacher_bank.T).argmax(dim=1)
    assert (nearest == index).float().mean() > 0.9


def test_one_sample_and_one_class():
    loss = built()
    for n, target in ((1, torch.tensor([0])), (4, torch.zeros(4, dtype=torch.int64))):
        s, t, _, index = batch(0, n)
        s.requires_grad_()
        value = loss(s, t, target, index)
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(s.grad).all()


def test_a_bank_full_of_one_class_has_no_negatives():
    """Only the positive's part remains: ln(1 + c / p) of each side."""
    loss = built()
    target, index = torch.zeros(SAMPLES, dtype=torch.int64), torch.arange(SAMPLES)
    s, t = torch.randn(SAMPLES, D_S), torch.randn(SAMPLES, D_T)
    loss(s, t, target, index)
    z = loss.log_z.exp().tolist()
    s_p, t_p = projected(loss.student_head, s), projected(loss.teacher_head, t)
    scores = np.exp((s_p * t_p).sum(axis=1) / 0.07)
    expected = sum(np.log1p(z_side / scores).mean() for z_side in z)
    assert loss(s, t, target, index).item() == pytest.approx(expected, rel=1e-4)


def test_least_where_the_sides_agree():
    """Of all students, the one that repeats the teacher costs least: every other bank row is another sample's."""
    loss = CRD(dim=8, tau=0.3)
    loss.build((8, 8), (8, 8), num_samples=8)
    loss.student_head = loss.teacher_head = torch.nn.Identity()
    t, target = torch.eye(8), torch.arange(8)
    loss(t, t, target, target)
    loss.eval()  # the same bank and Z for each student
    least = loss(t, t, target, target).item()
    for seed in range(5):
        noise = 0.3 * torch.randn(8, 8, generator=torch.Generator().manual_seed(seed))
        assert loss(t + noise, t, target, target).item() > least


def test_half_precision_and_autocast():
    """Banks stay float32; only the heads run in bf16 under autocast. A small τ would overflow e^score in float32."""
    loss, low = built(), built()
    s, t, target, index = batch(0)
    torch.manual_seed(0)
    expected = loss(s, t, target, index)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        value = low(s.bfloat16(), t.bfloat16(), target, index)
    assert value.dtype == low.student_bank.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=0.05)
    sharp = built(tau=0.005)
    value = sharp(s.requires_grad_(), t, target, index)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(s.grad).all()


def test_bfloat16_banks():
    loss = built().bfloat16()
    s, t, target, index = batch(0)
    for _ in range(2):
        assert torch.isfinite(loss(s.bfloat16(), t.bfloat16(), target, index))
    assert loss.student_bank.dtype == torch.bfloat16


def test_compiles_into_one_graph():
    plain, compiled = built(K=7), built(K=7)
    graph = torch.compile(compiled, fullgraph=True, backend="eager")
    for step in range(3):
        torch.manual_seed(step)
        expected = plain(*batch(step))
        torch.manual_seed(step)
        torch.testing.assert_close(graph(*batch(step)), expected)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value)
