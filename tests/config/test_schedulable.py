"""Which arguments of which loss may follow a schedule, and that setting one is as good as constructing with it."""

import functools
import inspect

import pytest
import torch

from distill import losses
from distill.config.schedules import Schedule
from distill.distillation.criterion import Criterion
from distill.distillation.inspection import inspect_model
from distill.distillation.terms import Pretraining, Term, argument_setter
from distill.losses import kd_loss
from distill.models import resnet8
from distill.utils.errors import UserError
from loss_contract import OF_TOKENS

SCHEDULABLE = {
    "AB": {"margin", "scale"},
    "AT": {"p"},
    "CC": {"gamma"},
    "CRD": {"tau", "momentum"},
    "CRDInBatch": {"tau"},
    "CWDFeature": {"T"},
    "DIST": {"beta", "gamma", "T"},
    "DKD": {"alpha", "beta", "T"},
    "JSD": {"beta", "T"},
    "KD": {"T"},
    "NKD": {"gamma", "T"},
    "RKD": {"distance", "angle"},
    "ReverseKL": {"T"},
    "SkewKL": {"alpha", "T"},
    "TTM": {"gamma"},
    "TVD": {"T"},
    "TfKD": {"a", "T"},
    "WTTM": {"gamma"},
}
CLASSES = [name for name in dir(losses) if inspect.isclass(getattr(losses, name)) and name not in ("ABF", "CWD")]
CASES = [
    (name, argument)
    for name in CLASSES
    for argument, parameter in inspect.signature(getattr(losses, name)).parameters.items()
    if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
]
VALUES = {"a": 0.7, "momentum": 0.9, "p": 3.0}

N, C = 4, 10
NET = resnet8(C)
ANATOMY = inspect_model(NET, torch.zeros(N, 3, 16, 16), "a net")


def criterion(loss, **schedules):
    features = any("feature" in n or "preactivation" in n for n in inspect.signature(loss.forward).parameters)
    layers = {"student": ["layer3"], "teacher": ["layer3"]} if features else {}
    phase = Pretraining(1) if hasattr(loss, "pretraining_loss") else None
    term = Term("x", loss, pretraining=phase, schedules=schedules, **layers)
    made = Criterion(None, [term])
    torch.manual_seed(0)
    made.build(ANATOMY, ANATOMY, num_samples=20)
    return made


def value(loss):
    generator = torch.Generator().manual_seed(1)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    torch.manual_seed(2)
    for _ in range(3):  # a bank's momentum shows in the third step
        given = {"target": torch.arange(N), "index": torch.arange(N)}
        for side in ("student", "teacher"):
            feature = random(N, 64, 4, 4)
            given |= {
                f"{side}_logits": random(N, C),
                f"{side}_output": random(N, C),
                f"{side}_embedding": random(N, 64),
                f"{side}_feature": feature,
            }
            given[f"{side}_preactivations"] = [feature]
        found = loss(**{key: given[key] for key in inspect.signature(loss.forward).parameters})
    return found.item()


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_numbers_that_are_read_in_each_step_follow_a_schedule(name, argument):
    loss_class = getattr(losses, name)
    schedule = Schedule("constant", 0.45, VALUES.get(argument, 0.45))
    if name in OF_TOKENS:  # no shapes of a resnet to build them for, and nothing to follow
        with pytest.raises(UserError, match=rf"kd.terms.x.loss.{argument} cannot follow a schedule: "):
            argument_setter(Term("x", loss_class()), loss_class(), argument)
        return
    if argument not in SCHEDULABLE.get(name, ()):
        with pytest.raises(UserError, match=rf"kd.terms.x.loss.{argument} cannot follow a schedule: "):
            criterion(loss_class(), **{argument: schedule})
        return
    made = criterion(loss_class(), **{argument: schedule})
    plain = value(criterion(loss_class()).losses["x"][0])
    made.start_epoch(0, 1)
    constructed = criterion(loss_class(**{argument: schedule.end}))
    found = value(made.losses["x"][0])
    assert found == value(constructed.losses["x"][0])
    assert found != plain


@pytest.mark.parametrize("argument", ["training", "dump_patches", "forward", "nonsense"])
def test_what_is_no_argument_follows_none(argument):
    with pytest.raises(UserError, match=rf"kd.terms.x.loss.{argument} cannot follow .* keeps no such number"):
        criterion(losses.KD(), **{argument: Schedule("linear", 1, 2)})


@pytest.mark.parametrize("argument", ["t_squared", "student_logits", "nonsense", "training"])
@pytest.mark.parametrize("loss", [kd_loss, functools.partial(kd_loss, T=8.0)])
def test_functions_are_asked_the_same(loss, argument):
    with pytest.raises(UserError, match=rf"kd.terms.x.loss.{argument} cannot follow .* keeps no such number"):
        Criterion(None, [Term("x", loss, schedules={argument: Schedule("linear", 1, 2)})]).build(ANATOMY, ANATOMY, 1)


def test_two_schedules_of_one_function():
    def loss(student_logits, teacher_logits, a=1.0, b=2.0):
        return a + b

    both = {"a": Schedule("linear", 3.0, 5.0), "b": Schedule("linear", 30.0, 50.0)}
    made = Criterion(None, [Term("x", loss, schedules=both)])
    made.build(ANATOMY, ANATOMY, 1)
    made.start_epoch(1, 2)
    assert made.losses["x"][0].function.keywords == {"a": 5.0, "b": 50.0}
