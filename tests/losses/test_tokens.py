"""Padding changes nothing, of any loss of token sequences."""

import inspect

import pytest
import torch
import torch.nn.functional as F

from distill import losses
from loss_contract import OF_TOKENS, built, changed, inputs

READ_THE_MASK = [
    name
    for name in dir(losses)
    if inspect.isclass(getattr(losses, name))
    and "attention_mask" in inspect.signature(getattr(losses, name).forward).parameters
]


def longer(tensor, by, fill):
    """A batch padded further, along the axis of the tokens."""
    padding = (0, by) if tensor.dim() == 2 else (0, 0, 0, by)
    return F.pad(tensor, padding, value=fill if tensor.is_floating_point() else 0)


def test_those_that_read_the_mask_are_found():
    assert set(READ_THE_MASK) == OF_TOKENS - {"PKD"}  # which reads the first token


@pytest.mark.parametrize("name", sorted(OF_TOKENS))
@pytest.mark.parametrize("fill", [0.0, 3.0, 1e4])
@pytest.mark.parametrize("by", [1, 27])
def test_a_batch_padded_further_has_the_same_loss_and_gradient(name, fill, by):
    loss = built(name)
    values = changed(inputs(loss), lambda x: x.requires_grad_(), "student_")
    padded = changed(values, lambda x: longer(x, by, fill))
    tensors = [x for key in values if key.startswith("student_") for x in _list(values[key])]
    found, expected = loss(**padded), loss(**values)
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)
    for a, b in zip(torch.autograd.grad(found, tensors), torch.autograd.grad(expected, tensors), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", sorted(READ_THE_MASK))
def test_no_mask_is_a_mask_of_ones(name):
    loss = built(name)
    values = inputs(loss)
    whole = values | {"attention_mask": torch.ones_like(values["attention_mask"])}
    absent = values | {"attention_mask": None}
    assert loss(**absent).item() == pytest.approx(loss(**whole).item(), rel=1e-6)
    assert loss(**absent).item() != pytest.approx(loss(**values).item(), rel=1e-3)


def _list(value):
    return value if isinstance(value, list) else [value]
