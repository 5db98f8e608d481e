"""What every logit loss does with half precision, extreme logits, settings out of range and shapes that do not fit."""

import pytest
import torch

from distill import losses

# The loss; the setting that is varied, and its values; how close float32 comes to float64, relative.
EXTREMES = {
    "dkd": ("T", (0.5, 4.0, 100.0), 0.01),  # T² times the rounding of ln C
    "mlkd": ("Ts", ((0.5,), (4.0,), (100.0,)), 0.01),  # likewise
    "nkd": ("T", (0.5, 1.0, 100.0), 1e-5),
    "ttm": ("gamma", (0.01, 0.1, 2.0), 1e-4),
    "wttm": ("gamma", (0.01, 0.1, 2.0), 1e-4),
    "dist": ("T", (0.5, 4.0, 100.0), 1e-5),
    "reverse_kl": ("T", (0.5, 4.0, 100.0), 0.01),
    "jsd": ("beta", (0.01, 0.5, 0.99), 1e-4),
    "skew_kl": ("alpha", (0.0, 0.1, 0.9), 1e-4),
    "tvd": ("T", (0.5, 4.0, 100.0), 1e-4),
}
SUBTRACTING = ("reverse_kl", "jsd")  # their gradient takes the divergence itself from a logarithm
CASES = [
    pytest.param(name, {setting: value}, rel, id=f"{name}-{value}")
    for name, (setting, values, rel) in EXTREMES.items()
    for value in values
]
MODULES = {"kd": "KD", "dkd": "DKD", "nkd": "NKD", "dist": "DIST", "tfkd": "TfKD", "ttm": "TTM", "wttm": "WTTM",
           "reverse_kl": "ReverseKL", "jsd": "JSD", "skew_kl": "SkewKL", "tvd": "TVD"}  # fmt: skip
ABOVE_0 = {"kd": "T", "dkd": "T", "nkd": "T", "dist": "T", "tfkd": "T", "ttm": "gamma", "wttm": "gamma",
           "reverse_kl": "T", "jsd": "T", "skew_kl": "T", "tvd": "T"}  # fmt: skip
AT_LEAST_0 = [("dkd", "alpha"), ("dkd", "beta"), ("nkd", "gamma"), ("dist", "beta"), ("dist", "gamma")]
WITH_TARGET = ("dkd", "nkd", "tfkd")


def function(name):
    return getattr(losses, f"{name}_loss")


def call(name, student, teacher, target, **settings):
    teachers = () if name == "tfkd" else (teacher,)
    return function(name)(student, *teachers, *((target,) if name in WITH_TARGET else ()), **settings)


@pytest.mark.parametrize(("name", "settings", "rel"), CASES)
@pytest.mark.parametrize("c", [2, 100, 22_000])
@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_half_precision_and_extremes(name, settings, rel, c, scale):
    """Values as close to float64 as the loss allows, gradients to that of their own bf16."""
    torch.manual_seed(0)
    s, t = ((scale * torch.randn(4, c, dtype=torch.bfloat16)) for _ in range(2))
    target = torch.randint(c, (4,))
    if name != "dist":  # a correlation of 1 to the last digit: float32 cannot tell it from one that does not vary
        s[0, 0], t[0, 0], target[0] = 1000.0, -1000.0, 0
    exact, low = s.double().requires_grad_(), s.requires_grad_()
    expected = call(name, exact, t.double(), target, **settings)
    value = call(name, low, t, target, **settings)
    expected.backward()
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(low.grad).all()
    if (name, c, scale, settings) != ("dist", 2, 50.0, {"T": 0.5}):  # 1 − 1e-9 is 1 in float32: it does not vary there
        assert value.item() == pytest.approx(expected.item(), rel=rel)
        rounding = 1e-6 * abs(expected.item()) if name in SUBTRACTING else 0.0
        if name == "tvd":  # probabilities that are equal in float32: the sign of their difference is not known
            rounding = 1e-6
        assert (low.grad.double() - exact.grad).norm() <= 0.01 * exact.grad.norm() + rounding


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_setting_must_be_above_0(name, value):
    message = f"{ABOVE_0[name]} must be a finite number above 0, got {value}"
    with pytest.raises(ValueError, match=message):
        getattr(losses, MODULES[name])(**{ABOVE_0[name]: value})
    with pytest.raises(ValueError, match=message):
        call(name, torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 1]), **{ABOVE_0[name]: value})


@pytest.mark.parametrize(("name", "setting"), AT_LEAST_0)
def test_a_weight_must_be_at_least_0(name, setting):
    message = f"{setting} must be a finite number of at least 0, got -1"
    with pytest.raises(ValueError, match=message):
        getattr(losses, MODULES[name])(**{setting: -1})
    with pytest.raises(ValueError, match=message):
        call(name, torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 1]), **{setting: -1})


@pytest.mark.parametrize(
    "name", ["kd", "dkd", "nkd", "dist", "mlkd", "ttm", "wttm", "reverse_kl", "jsd", "skew_kl", "logit_mse"]
)
def test_shapes_must_be_equal_and_have_two_dimensions(name):
    target = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"same shape, got \(2, 3\) and \(2, 4\)"):
        call(name, torch.zeros(2, 3), torch.zeros(2, 4), target)
    with pytest.raises(ValueError, match=r"2 dimensions, got shape \(2, 3, 4\)"):
        call(name, torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), target)


@pytest.mark.parametrize("name", WITH_TARGET)
def test_a_target_class_needs_others_and_one_label_per_sample(name):
    logits, target = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"at least 2 classes, got \(2, 1\)"):
        call(name, torch.zeros(2, 1), torch.zeros(2, 1), target)
    for labels, shape in ((target[:, None], r"\(2, 1\)"), (torch.zeros(3, dtype=torch.int64), r"\(3,\)")):
        with pytest.raises(ValueError, match=rf"target must have shape \(2,\), got {shape}"):
            call(name, logits, logits, labels)
