"""Losses of chunks of rows against the same losses of whole logits: values, gradients, memory, refusals."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill import losses
from distill.losses import chunked_loss
from live_memory import LiveMemory

OF_ROWS = {
    "forward KL": lambda s, t, y: losses.kd_loss(s, t, T=2.0),
    "reverse KL": lambda s, t, y: losses.reverse_kl_loss(s, t, T=2.0),
    "JSD": lambda s, t, y: losses.jsd_loss(s, t, 0.3, T=2.0),
    "skew KL": lambda s, t, y: losses.skew_kl_loss(s, t, T=2.0),
    "skew reverse KL": lambda s, t, y: losses.skew_kl_loss(s, t, reverse=True, T=2.0),
    "TVD": lambda s, t, y: losses.tvd_loss(s, t, T=2.0),
    "cross-entropy": lambda s, t, y: F.cross_entropy(s, y),
    "0.3 CE + 0.7 KL": lambda s, t, y: 0.3 * F.cross_entropy(s, y) + 0.7 * losses.kd_loss(s, t, T=2.0),
}


def problem(rows=23, classes=50, dtype=torch.float32, bias=True):
    """Hidden states and heads of a student of width 6 and a teacher of width 9, and labels."""
    torch.manual_seed(0)
    student, teacher = nn.Linear(6, classes, bias=bias), nn.Linear(9, classes, bias=bias)
    h, t = 2 * torch.randn(rows, 6), 2 * torch.randn(rows, 9)
    return (
        h.to(dtype).requires_grad_(),
        student.to(dtype),
        t.to(dtype),
        teacher.to(dtype),
        torch.randint(classes, (rows,)),
    )


def gradients(value, h, head):
    return torch.autograd.grad(value, [h, *head.parameters()])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 23, 100])
@pytest.mark.parametrize("name", OF_ROWS)
def test_value_and_gradients_are_those_of_whole_logits(name, rows, bias):
    h, head, t, teacher, y = problem(bias=bias)
    plain = OF_ROWS[name](head(h), teacher(t).detach(), y)
    value = chunked_loss(OF_ROWS[name], h, head, t, teacher, y, rows=rows)
    assert value.item() == pytest.approx(plain.item(), rel=1e-5)
    for mine, expected in zip(gradients(3 * value, h, head), gradients(3 * plain, h, head), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


def test_without_a_teacher_or_labels():
    h, head, t, teacher, y = problem()
    assert chunked_loss(F.cross_entropy, h, head, target=y, rows=5).item() == pytest.approx(
        F.cross_entropy(head(h), y).item(), rel=1e-5
    )
    assert chunked_loss(losses.JSD(0.3), h, head, t, teacher, rows=5).item() == pytest.approx(
        losses.jsd_loss(head(h), teacher(t), 0.3).item(), rel=1e-5
    )


def test_gradcheck():
    h, head, t, teacher, y = problem(rows=4, classes=5, dtype=torch.float64)

    def of(hidden, weight, bias):
        layer = nn.Linear(1, 1)
        layer.in_features, layer.out_features = head.in_features, head.out_features
        del layer.weight, layer.bias
        layer.weight, layer.bias = weight, bias
        return chunked_loss(OF_ROWS["0.3 CE + 0.7 KL"], hidden, layer, t, teacher, y, rows=3)

    tensors = [x.detach().clone().requires_grad_() for x in (h, head.weight, head.bias)]
    assert torch.autograd.gradcheck(of, tensors)


def test_micro_batches_add_up_to_the_mean_over_all_of_their_rows():
    h, head, t, teacher, y = problem()
    whole = gradients(chunked_loss(OF_ROWS["forward KL"], h, head, t, teacher, y), h, head)
    parts = [slice(0, 5), slice(5, 23)]
    value = sum(chunked_loss(OF_ROWS["forward KL"], h[p], head, t[p], teacher, y[p], num_rows=23) for p in parts)
    for mine, expected in zip(gradients(value, h, head), whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-7)


def test_no_row_is_a_loss_of_zero_with_gradients_of_zero():
    h, head, t, teacher, y = problem(rows=0)
    value = chunked_loss(OF_ROWS["0.3 CE + 0.7 KL"], h, head, t, teacher, y)
    assert value.item() == 0
    assert all(not grad.any() for grad in gradients(value, h, head))


@pytest.mark.parametrize("frozen", ["hidden", "head", "both"])
def test_what_has_no_gradient_gets_none(frozen):
    h, head, t, teacher, y = problem()
    if frozen != "head":
        h = h.detach()
    if frozen != "hidden":
        head.requires_grad_(False)
    value = chunked_loss(OF_ROWS["forward KL"], h, head, t, teacher, y, rows=7)
    assert value.requires_grad == (frozen != "both")
    if frozen != "both":
        value.backward()
    assert (h.grad is None, head.weight.grad is None) == (frozen != "head", frozen != "hidden")
    assert teacher.weight.grad is None


@pytest.mark.parametrize("rows", [4, 64])
def test_half_precision_by_autocast_and_by_weights(rows):
    """Products are of bf16, sums over chunks and the loss of float32."""
    h, head, t, teacher, y = problem(rows=64)
    expected = OF_ROWS["forward KL"](head(h), teacher(t), y)
    reference = gradients(expected, h, head)
    with torch.autocast("cpu", torch.bfloat16):
        value = chunked_loss(OF_ROWS["forward KL"], h, head, t, teacher, y, rows=rows)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected.item(), rel=0.02)
    for mine, exact in zip(gradients(value, h, head), reference, strict=True):
        assert mine.dtype == torch.float32
        assert F.cosine_similarity(mine.flatten(), exact.flatten(), dim=0) > 0.999
    h, head, t, teacher, y = problem(rows=64, dtype=torch.bfloat16)
    value = chunked_loss(OF_ROWS["forward KL"], h, head, t, teacher, y, rows=rows)
    assert value.item() == pytest.approx(expected.item(), rel=0.05)
    for mine, exact in zip(gradients(value, h, head), reference, strict=True):
        assert mine.dtype == torch.bfloat16
        assert F.cosine_similarity(mine.float().flatten(), exact.flatten(), dim=0) > 0.999


def test_memory_is_that_of_a_chunk():
    """512 rows of 4,000 classes, 16 at a time: what is alive at once is less than half of the student's logits."""
    h, head, t, teacher, y = problem(rows=512, classes=4000)
    peaks = {}
    for name in ("plain", "chunked"):
        with LiveMemory() as memory:
            if name == "plain":
                value = OF_ROWS["0.3 CE + 0.7 KL"](head(h), teacher(t).detach(), y)
            else:
                value = chunked_loss(OF_ROWS["0.3 CE + 0.7 KL"], h, head, t, teacher, y, rows=16)
            gradients(value, h, head)
        peaks[name] = memory.peak
    logits = 512 * 4000 * 4
    assert peaks["plain"] > 3 * logits
    assert peaks["chunked"] < logits / 2


REFUSED = {
    "student_hidden must have shape (M, 6), as student_head reads, got (23, 5)": lambda h, head, t, teacher, y: (
        h[:, :5], head, t, teacher, y),
    "teacher_hidden must have shape (M, 9), as teacher_head reads, got (23, 6)": lambda h, head, t, teacher, y: (
        h, head, h, teacher, y),
    "teacher_hidden and teacher_head belong together, got one of them": lambda h, head, t, teacher, y: (
        h, head, t, None, y),
    "student and teacher must hold the same rows, got 23 and 20": lambda h, head, t, teacher, y: (
        h, head, t[:20], teacher, y),
    "student and teacher must have as many classes, got 50 and 51": lambda h, head, t, teacher, y: (
        h, head, t, nn.Linear(9, 51), y),
    "target must have shape (23,), got (22,)": lambda h, head, t, teacher, y: (h, head, t, teacher, y[:22]),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_shapes_that_do_not_belong_together_are_refused(message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        chunked_loss(OF_ROWS["forward KL"], *REFUSED[message](*problem()))


@pytest.mark.parametrize("setting", [{"rows": 0}, {"rows": 2.5}, {"num_rows": 0}, {"num_rows": float("nan")}])
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(ValueError, match=f"^{next(iter(setting))} must be "):
        chunked_loss(OF_ROWS["forward KL"], *problem(), **setting)
