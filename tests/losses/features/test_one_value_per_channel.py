"""One sample and 1×1 maps: BatchNorm has no variance to divide by in training, so such a batch counts as 0."""

import inspect

import pytest
import torch

from distill.losses import AB, FT, ICKD, OFD, FitNet, ReviewKD

STUDENT, TEACHER = (2, 3, 1, 1), (2, 5, 1, 1)
LOSSES = [AB, FT, OFD, ReviewKD, FitNet, ICKD]


def called(loss, student, teacher):
    """A loss of one layer, or of a list of one."""
    names = list(inspect.signature(loss.forward).parameters)
    return loss(student, teacher) if names[0].endswith("feature") else loss([student], [teacher])


def built(kind):
    torch.manual_seed(0)
    loss = kind()
    several = [STUDENT], [TEACHER]
    names = list(inspect.signature(loss.build).parameters)
    loss.build(*(several if not names[0].endswith("feature") else (STUDENT, TEACHER)))
    return loss


@pytest.mark.parametrize("kind", LOSSES)
def test_counts_as_zero_in_training_alone(kind):
    loss = built(kind)
    student = torch.randn(1, 3, 1, 1, requires_grad=True)
    value = called(loss, student, torch.randn(1, 5, 1, 1))
    value.backward()
    assert value.item() == 0
    assert student.grad.abs().sum() == 0
    assert called(loss.eval(), student, torch.randn(1, 5, 1, 1)).item() > 0


@pytest.mark.parametrize("kind", LOSSES)
def test_two_samples_are_a_batch(kind):
    student = torch.randn(2, 3, 1, 1, requires_grad=True)
    value = called(built(kind), student, torch.randn(2, 5, 1, 1))
    assert torch.isfinite(value)
    assert value.item() != 0
