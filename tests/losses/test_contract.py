"""The contract of every loss module of a family; formulas, bounds and messages are tested in each one's own file."""

import copy
import inspect

import pytest
import torch

from distill import losses
from loss_contract import SAMPLES, built, changed, inputs, student_tensors

FAMILIES = {
    "logits": ["KD", "DKD", "DIST", "NKD", "TTM", "WTTM", "MLKD", "TfKD"],
    "features": ["FitNet", "AT", "NST", "FSP", "AB", "FT", "VID", "OFD", "ReviewKD"],
    "relations": ["RKD", "PKT", "SP", "CC", "CRD", "CRDInBatch", "ICKD"],
}
NAMES = [name for names in FAMILIES.values() for name in names]
STATEFUL = {"CRD"}  # draws negatives and updates its memory bank in every call
LEARNED = {"FitNet", "AB", "FT", "VID", "OFD", "ReviewKD", "CRD", "CRDInBatch", "ICKD"}
ZERO_AT_EQUALITY = ["KD", "DKD", "DIST", "MLKD", "AT", "NST", "FSP", "RKD", "PKT", "SP", "CC"]


def value(loss, values):
    """The loss of a copy, so that no call changes what the next one sees."""
    torch.manual_seed(3)
    return copy.deepcopy(loss)(**values)


def test_every_loss_belongs_to_a_family():
    modules = {name for name in dir(losses) if isinstance(getattr(losses, name), type)}
    assert modules - {"ABF"} == set(NAMES)  # a layer of ReviewKD


@pytest.mark.parametrize("name", ZERO_AT_EQUALITY)
def test_zero_where_the_student_equals_the_teacher(name):
    loss = built(name).double()
    values = inputs(loss, dtype=torch.float64)
    equal = {key: values[key.replace("teacher_", "student_")] for key in values}
    assert value(loss, equal).item() == pytest.approx(0, abs=1e-10)
    assert value(loss, values).item() > 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STATEFUL])
def test_gradient_is_right(name):
    """In float64, to which the module moves with its parameters; the targets and the teacher's side are constants."""
    loss = built(name).double()
    values = inputs(loss, samples=4, dtype=torch.float64)

    def of(*tensors):
        rest = iter(tensors)
        return loss(**changed(values, lambda _: next(rest), "student_"))

    tensors = [tensor.requires_grad_() for tensor in student_tensors(values)]
    assert torch.autograd.gradcheck(of, tensors, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_student_and_all_parameters(name):
    loss = built(name)
    values = changed(inputs(loss), lambda tensor: tensor.requires_grad_(), "student_")
    found = loss(**values)
    found.backward()
    assert found.shape == ()
    assert found.dtype == torch.float32
    every = [*student_tensors(values), *(p for p in loss.parameters() if p.requires_grad)]
    trained = [tensor for tensor in every if tensor.grad is not None]
    assert all(torch.isfinite(tensor.grad).all() for tensor in trained)
    assert all(tensor.grad is not None for tensor in student_tensors(values))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEARNED])
def test_half_precision_is_computed_in_float32(name):
    """bf16 inputs give what float64 gives of the same rounded numbers, and autocast changes nothing."""
    loss = built(name)
    low = inputs(loss, dtype=torch.bfloat16)
    exact = value(loss, changed(low, lambda x: x.double() if x.is_floating_point() else x))
    found = value(loss, low)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-4)
    values = inputs(loss)
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = value(loss, values)
    assert under_autocast.dtype == torch.float32
    torch.testing.assert_close(under_autocast, value(loss, values))


@pytest.mark.parametrize("name", sorted(LEARNED))
def test_autocast_lowers_the_precision_of_the_adapter_alone(name):
    loss = built(name)
    values = changed(inputs(loss), lambda tensor: tensor.requires_grad_(), "student_")
    with torch.autocast("cpu", torch.bfloat16):
        found = value(loss, values)
    found.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(value(loss, values).item(), rel=0.03)
    assert all(torch.isfinite(tensor.grad).all() for tensor in student_tensors(values))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in STATEFUL])
def test_the_order_of_the_samples_does_not_matter(name):
    loss = built(name).double()
    values = inputs(loss, dtype=torch.float64)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(1))
    shuffled = changed(values, lambda tensor: tensor[order])
    assert value(loss, shuffled).item() == pytest.approx(value(loss, values).item(), rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_another_number_of_samples_is_refused(name):
    loss = built(name)
    with pytest.raises(ValueError, match="student|teacher|target|logits|embedding"):
        value(loss, changed(inputs(loss), lambda tensor: tensor[:-1], "student_"))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_in_one_graph(name):
    torch._dynamo.reset()
    gathers = "gather" in inspect.signature(getattr(losses, name)).parameters
    loss = built(name, **({"gather": True} if gathers else {}))
    plain = copy.deepcopy(loss)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for samples in (8, 5, 1):  # the last batch of an epoch is smaller
        values = inputs(loss, samples)
        torch.manual_seed(4)
        expected = plain(**values)
        torch.manual_seed(4)
        assert compiled(**values).item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name):
    loss, other = built(name), built(name, seed=1)
    loss(**inputs(loss))  # running statistics and memory banks have moved
    other.load_state_dict(loss.state_dict())
    values = inputs(loss, seed=1)
    assert value(other.eval(), values).item() == value(loss.eval(), values).item()
