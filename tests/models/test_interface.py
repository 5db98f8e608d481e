"""Models that are no plain function of inputs to logits (N, C), and what is made of them."""

import copy
import random
import threading
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.inspection import inspect_model
from distill.models.interface import logits_of, remove_hooks, unify
from distill.utils.errors import UserError

X = torch.randn(4, 3, 6, 6, generator=torch.manual_seed(0))
CLASSES = 5


@dataclass
class Record:
    logits: Any
    hidden: Any = None


class ModelOutput(OrderedDict):
    """As that of Hugging Face's transformers: a dict with attributes."""

    def __getattr__(self, name):
        return self[name]


Named = namedtuple("Named", ["hidden", "logits"])


class Net(nn.Module):
    """``give`` makes its output of logits and features; ``read`` its features of the input."""

    def __init__(self, give=lambda net, y, h: y, read=lambda net, x: x.mean((2, 3))):
        super().__init__()
        self.hidden, self.fc = nn.Linear(3, 7), nn.Linear(7, CLASSES)
        self.give, self.read = give, read

    def forward(self, x):
        h = self.hidden(self.read(self, x))
        return self.give(self, self.fc(h), h)


def plain(net, x):
    return net.fc(net.hidden(x.mean((2, 3))))


GIVEN = {
    "a tuple": lambda net, y, h: (y, y + 1),
    "features first": lambda net, y, h: (h, y),
    "a list": lambda net, y, h: [y, None, "note"],
    "a dict": lambda net, y, h: {"out": y, "features": h},
    "a dict with two of the shape": lambda net, y, h: {"aux": y + 1, "logits": y},
    "a dataclass": lambda net, y, h: Record(y, h),
    "a ModelOutput": lambda net, y, h: ModelOutput(hidden_states=(h,), logits=y),
    "a named tuple": lambda net, y, h: Named(y + 1, y),
    "a tuple in training only": lambda net, y, h: (y, h) if net.training else y,
    "a dict in training only": lambda net, y, h: {"logits": y, "aux": y + 1} if net.training else y,
    "squeezed": lambda net, y, h: y.squeeze(),
    "float64": lambda net, y, h: y.double(),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("num_classes", [CLASSES, None])
def test_logits_come_out_of_whatever_a_model_gives(given, num_classes):
    net = Net(given)
    if num_classes is None and given in (GIVEN["features first"], GIVEN["a dict"]):
        with pytest.raises(
            UserError, match=r"must give logits of shape \(N, C\), got a .*: \(1, [57]\), .*: \(1, [57]\)"
        ):
            unify(net, X, "the student", None, training=True)
        return
    assert inspect_model(net, X, "the student", num_classes, training=True).logits == (4, CLASSES)
    for training in (True, False):
        net.train(training)
        for x in (X, X[:1]):
            got = FeatureExtractor(net)(x).logits
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, plain(net, x))
    assert torch.equal(copy.deepcopy(net)(X), net(X))
    remove_hooks(net)()
    assert torch.equal(net(X).float(), net(X))
    remove_hooks(net)
    assert not net._forward_hooks
    assert not net._forward_pre_hooks


def test_a_plain_model_gets_no_hooks():
    net = Net()
    unify(net, X, "the student", CLASSES, training=True)
    assert not net._forward_hooks
    assert not net._forward_pre_hooks


@pytest.mark.parametrize("given", [
    lambda net, y, h: {"a": y, "b": y},
    lambda net, y, h: {"a": y, "b": y} if net.training else y,
    lambda net, y, h: "text",
    lambda net, y, h: (),
    lambda net, y, h: None,
    lambda net, y, h: y.argmax(1),
    lambda net, y, h: Record(h[:, :, None]),
])  # fmt: skip
def test_what_holds_no_known_logits_is_refused_at_once(given):
    with pytest.raises(UserError, match=r"^the student must give logits of shape \(N, 5\)( in training mode)?, got "):
        inspect_model(Net(given), X, "the student", CLASSES, training=True)


def test_another_number_of_classes_is_refused():
    with pytest.raises(UserError, match="the student gives 5 logits, and the data have 9 classes"):
        inspect_model(Net(), X, "the student", 9)


def test_one_sample_is_told_from_many():
    assert logits_of(torch.zeros(5), 1).shape == (1, 5)
    assert logits_of(torch.zeros(5), 5) is None
    assert logits_of(torch.zeros(4, 5), 3) is None


def _in_place(net, x):
    return x.mul_(0).add_(1).mean((2, 3))


def _in_place_in_training(net, x):
    return (x.mul_(2) if net.training else x * 2).mean((2, 3))


def _behind_autograd(net, x):
    x.data.zero_()
    return x.mean((2, 3))


@pytest.mark.parametrize("read", [_in_place, _in_place_in_training, _behind_autograd])
def test_an_input_that_is_changed_in_place_is_a_copy(read):
    net = Net(read=read)
    unify(net, X, "the teacher", CLASSES, training=True)
    for training in (True, False):
        x = X.clone()
        first = net.train(training)(x)
        assert torch.equal(x, X)
        assert torch.equal(net(x), first)


class Training(nn.Module):
    """Changes everything that it can in training mode."""

    def __init__(self):
        super().__init__()
        self.norm, self.fc = nn.BatchNorm2d(3), nn.Linear(3, CLASSES)
        self.register_buffer("seen", torch.zeros(2))
        self.steps = 0

    def forward(self, x):
        if self.training:
            self.steps += 1
            self.seen = self.seen + 1
            self.fc.weight.data.mul_(0.5)
            x = x * (random.random() + np.random.rand() + torch.rand(1))
        return self.fc(self.norm(x).mean((2, 3)))


def test_the_forward_in_training_mode_leaves_no_trace():
    torch.manual_seed(3)
    net = Training()
    net.norm.eval()
    before = copy.deepcopy(net.state_dict())

    def draw():
        return [torch.rand(1).item(), random.random(), np.random.rand()]

    def seed():
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)

    seed()
    expected = draw()
    seed()
    unify(net, X, "the student", CLASSES, training=True)
    assert draw() == expected
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert (net.steps, net.training, net.norm.training) == (0, True, False)


def test_a_failure_of_the_training_mode_alone_is_told_before_training():
    def read(net, x):
        return x.no_such_thing if net.training else x.mean((2, 3))

    inspect_model(Net(read=read), X, "the teacher")
    with pytest.raises(UserError, match=r"the student cannot run on inputs \(4, 3, 6, 6\) in training mode: .*no_such"):
        inspect_model(Net(read=read), X, "the student", training=True)


def test_a_frozen_student_is_refused():
    net = Net().requires_grad_(False)
    inspect_model(net, X, "the teacher")
    with pytest.raises(UserError, match="the student has no parameter that is trained: requires_grad is False"):
        inspect_model(net, X, "the student", training=True)
    net.fc.bias.requires_grad = True
    inspect_model(net, X, "the student", training=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_of_another_type_gets_its_inputs_in_it(dtype):
    net = Net().to(dtype)
    model_info = inspect_model(net, X, "the teacher", CLASSES)
    assert model_info.logits == (4, CLASSES)
    outputs = FeatureExtractor(net, ["hidden"], "fc")(X)
    for tensor in outputs.tensors():
        assert tensor.dtype == (torch.float32 if dtype == torch.float64 else dtype)


def test_lazy_modules_get_their_shapes():
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(CLASSES))
    assert inspect_model(net, X, "the student", CLASSES, training=True).embedding == (4, 64)
    assert type(net[3]) is nn.Linear
    assert not net[1].running_mean.any()


def test_a_model_that_cannot_be_copied():
    net = Net()
    net.lock = threading.Lock()
    inspect_model(net, X, "the student", CLASSES, training=True)


@pytest.mark.parametrize(
    ("end", "warns"), [(nn.Softmax(1), True), (nn.Identity(), False), (nn.LogSoftmax(1), False), (nn.ReLU(), False)]
)
def test_probabilities_are_warned_of(end, warns, caplog):
    inspect_model(nn.Sequential(Net(), end), X, "the teacher", CLASSES)
    assert [("gives probabilities" in message) for message in caplog.messages] == [True] * warns


@pytest.mark.parametrize("given", ["a dict", "squeezed", "a tuple in training only"])
def test_a_model_with_hooks_is_exported(given):
    net = Net(GIVEN[given])
    inspect_model(net, X, "the student", CLASSES, training=True)
    batch = torch.export.Dim("batch")
    program = torch.export.export(net.eval(), (X,), dynamic_shapes=({0: batch},), strict=False)
    torch.testing.assert_close(program.module()(X[:3]), plain(net, X[:3]))


@pytest.mark.parametrize("stop", [torch.no_grad(), None])
def test_logits_without_a_gradient_are_told_before_training(stop):
    net = Net(give=lambda net, y, h: y.detach()) if stop is None else Net()
    if stop is not None:
        net.forward = stop(net.forward)
    inspect_model(net, X, "the teacher", CLASSES)
    with pytest.raises(UserError, match="the student gives logits in training mode that no trained parameter has a"):
        inspect_model(net, X, "the student", CLASSES, training=True)


@pytest.mark.parametrize("dtype", ["complex64", "int64"])
def test_logits_of_another_type_are_told_by_it(dtype):
    class Other(nn.Linear):
        def forward(self, x):
            return super().forward(x).to(getattr(torch, dtype))

    with pytest.raises(UserError, match=rf"shape \(N, 5\), got \(1, 5\) of {dtype}"):
        unify(Other(3, 5), torch.ones(4, 3), "net", 5)


def test_a_batch_of_one_is_tried_where_batches_are_of_one():
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(108), nn.Linear(108, CLASSES))
    inspect_model(net, X, "the student", CLASSES, training=2)
    with pytest.raises(UserError, match=r"cannot run on inputs \(1, 3, 6, 6\) in training mode: Expected more than 1"):
        inspect_model(net, X, "the student", CLASSES, training=1)


def test_a_graph_without_modes_is_refused():
    graph = torch.export.export(Net(), (X,)).module()
    with pytest.raises(UserError, match=r"the student has no modes for training and evaluation: Calling eval\(\)"):
        inspect_model(graph, X, "the student", CLASSES, training=True)
