import math

import pytest
import torch

from distill.losses import PKD, pkd_loss


def reference(students, teachers):
    """Of first tokens (N, D), element by element."""
    total = 0.0
    for s, t in zip(students, teachers, strict=True):
        for a, b in zip(s.tolist(), t.tolist(), strict=True):
            length_a, length_b = math.hypot(*a), math.hypot(*b)
            total += sum((x / length_a - y / length_b) ** 2 for x, y in zip(a, b, strict=True)) / len(s)
    return total


def layers(width, length=5, count=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, length, width, generator=generator, dtype=torch.float64) for _ in range(count)]


def built(students, teachers):
    torch.manual_seed(0)
    loss = PKD()
    loss.build([x.shape for x in students], [x.shape for x in teachers])
    return loss.double()


def test_equals_the_formula():
    students, teachers = layers(6), layers(6, seed=1)
    firsts = [[x[:, 0] for x in side] for side in (students, teachers)]
    expected = reference(*firsts)
    assert pkd_loss(*firsts).item() == pytest.approx(expected, rel=1e-12)
    assert built(students, teachers)(students, teachers).item() == pytest.approx(expected, rel=1e-12)
    cosines = sum((1 - torch.cosine_similarity(s, t)).mean().item() for s, t in zip(*firsts, strict=True))
    assert expected == pytest.approx(2 * cosines, rel=1e-9)


def test_reads_the_first_token_and_no_lengths():
    students, teachers = layers(6), layers(6, length=9, seed=1)  # of another tokenizer
    loss = built(students, teachers)
    value = loss(students, teachers).item()
    assert loss([3 * x for x in students], teachers).item() == pytest.approx(value, rel=1e-9)
    for x in students:
        x[:, 1:] += 1
    assert loss(students, teachers).item() == value


def test_another_width_goes_through_a_linear_layer_per_layer():
    students, teachers = layers(4), layers(6, seed=1)
    loss = built(students, teachers)
    projected = []
    for linear, x in zip(loss.projections, students, strict=True):
        weight, bias = (parameter.detach().numpy() for parameter in linear.parameters())
        projected.append(torch.tensor(x[:, 0].numpy() @ weight.T + bias))
    assert loss(students, teachers).item() == pytest.approx(reference(projected, [x[:, 0] for x in teachers]))
    loss(students, teachers).backward()
    assert len(list(loss.parameters())) == 4
    assert all(parameter.grad.abs().sum() > 0 for parameter in loss.parameters())


def test_gradient():
    students, teachers = layers(6), layers(6, seed=1)
    loss = built(students, teachers)
    tensors = [x.requires_grad_() for x in students]
    assert torch.autograd.gradcheck(lambda *given: loss(list(given), teachers), tensors)


def test_what_is_refused():
    with pytest.raises(ValueError, match="PKD needs at least 1 stage, as many .* got 2 and 1"):
        PKD().build([(2, 5, 6)] * 2, [(2, 5, 6)])
    with pytest.raises(ValueError, match=r"shape \(N, L, D\), tokens of a transformer, got \(2, 6, 4, 4\) and"):
        PKD().build([(2, 6, 4, 4)], [(2, 6, 4, 4)])
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        pkd_loss([torch.ones(2, 3)], [torch.ones(2, 4)])
