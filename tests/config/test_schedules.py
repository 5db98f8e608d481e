import pytest

from distill.config.schedules import Schedule, count, parse
from distill.distillation.criterion import Criterion
from distill.distillation.terms import Term
from distill.losses import KD
from distill.utils.errors import UserError


def values(node, epochs):
    schedule = parse(node, "kd.T")
    return [pytest.approx(schedule.at(epoch, epochs)) for epoch in range(epochs)]


def test_values_over_the_epochs():
    assert values(3, 3) == [3, 3, 3]
    assert values({"schedule": "constant", "value": 2.5}, 2) == [2.5, 2.5]
    assert values({"schedule": "warmup", "value": 2.0, "epochs": 4}, 6) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert values({"schedule": "linear", "start": 8, "end": 2, "epochs": 4}, 6) == [8, 6, 4, 2, 2, 2]
    assert values({"schedule": "linear", "start": 1, "end": 0}, 3) == [1, 0.5, 0]  # null: the whole run
    assert values({"schedule": "cosine", "start": 4, "end": 0, "epochs": 3}, 4) == [4, 2, 0, 0]
    assert values({"schedule": "cosine", "start": 4, "end": 0}, 5) == [4, 2 + 2**0.5, 2, 2 - 2**0.5, 0]
    assert values({"schedule": "linear", "start": 4, "end": 0}, 5) == [4, 3, 2, 1, 0]
    assert values({"schedule": "linear", "start": 8, "end": 2, "epochs": 1}, 2) == [2, 2]


def test_a_share_of_the_run_scales_with_it():
    """DKD's warm-up of 20 of 240 epochs is the field's: epoch e of 20 has e/20."""
    schedule = parse({"schedule": "warmup", "value": 1.0, "epochs": 0.0834}, "w")
    assert [schedule.at(e, 240) for e in (0, 9, 19, 20)] == [1 / 20, 10 / 20, 1.0, 1.0]
    assert schedule.at(0, 6) == 1.0
    assert [count(0.125, n) for n in (2, 20, 240)] == [1, 2, 30]
    assert (count(5, 3), count(None, 7)) == (5, 7)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("warm", "kd.T must be a finite number, got 'warm'"),
        ({"value": 3}, "kd.T must be a number or a schedule"),
        ({"schedule": "liner", "start": 1}, "kd.T.schedule=liner is unknown; did you mean 'linear'"),
        ({"schedule": "linear", "stat": 1}, "kd.T: schedule linear takes no 'stat'; did you mean 'start'"),
        ({"schedule": "linear", "start": 1}, "kd.T.end must be a finite number, got None"),
        ({"schedule": "warmup", "value": float("nan")}, "kd.T.value must be a finite number, got nan"),
        ({"schedule": "warmup", "value": 1, "epochs": 0}, "kd.T.epochs must be a whole number of epochs, or a share"),
        ({"schedule": "warmup", "value": 1, "epochs": 2.5}, r"kd.T.epochs must be .*, got 2.5"),
        ({"schedule": "warmup", "value": 1, "epochs": True}, r"kd.T.epochs must be .*, got True"),
        (float("inf"), "kd.T must be a finite number, got inf"),
        (None, "kd.T must be a finite number, got None"),
    ],
)
def test_bad_schedules(node, message):
    with pytest.raises(UserError, match=message):
        parse(node, "kd.T")


def test_alpha_weight_and_arguments_follow_the_epochs():
    from distill.distillation.model_info import ModelInfo

    model_info = ModelInfo("a net", {}, {}, (), (2, 10), None, None)
    term = Term("kd", KD(8.0), Schedule("warmup", 0, 1.0, 2), schedules={"T": Schedule("linear", 8.0, 2.0)})
    criterion = Criterion(Schedule("cosine", 1.0, 0.0), [term])
    criterion.build(model_info, model_info, None)
    seen = []
    for epoch in range(3):
        criterion.start_epoch(epoch, 3)
        seen.append((round(criterion.alpha, 6), criterion.weights["kd"], criterion.losses["kd"][0].T))
    assert seen == [(1.0, 0.5, 8.0), (0.5, 1.0, 5.0), (0.0, 1.0, 2.0)]
    assert criterion.scheduled == pytest.approx({"alpha": 0.0, "kd.weight": 1.0, "kd.T": 2.0})


def test_keywords_of_a_plain_function_follow_the_epochs():
    import functools

    from distill.distillation.model_info import ModelInfo
    from distill.losses import kd_loss

    model_info = ModelInfo("a net", {}, {}, (), (2, 10), None, None)
    loss = functools.partial(kd_loss, T=8.0)
    criterion = Criterion(0.5, [Term("kd", loss, schedules={"T": Schedule("linear", 8.0, 2.0)})])
    criterion.build(model_info, model_info, None)
    criterion.start_epoch(1, 2)
    assert criterion.losses["kd"][0].function.keywords == {"T": 2.0}
    assert loss.keywords == {"T": 8.0}
    with pytest.raises(
        UserError, match="kd.terms.kd.loss.temp cannot follow a schedule: the loss keeps no such number"
    ):
        Criterion(0.5, [Term("kd", KD(), schedules={"temp": Schedule("linear", 1, 2)})]).build(
            model_info, model_info, None
        )
