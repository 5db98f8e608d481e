"""The contract of every loss module of a family; formulas, bounds and messages are tested in each one's own file."""

import copy
import inspect

import pytest
import torch

from distill import losses
from loss_contract import SAMPLES, built, changed, inputs, student_tensors

FAMILIES = {
    "logits": [
        "KD",
        "DKD",
        "DIST",
        "NKD",
        "TTM",
        "WTTM",
        "MLKD",
        "TfKD",
        "OutputMSE",
        "CWD",
        "ReverseKL",
        "JSD",
        "SkewKL",
        "TVD",
    ],
    "features": [
        "FitNet",
        "AT",
        "NST",
        "FSP",
        "AB",
        "FT",
        "VID",
        "OFD",
        "ReviewKD",
        "EmbeddingMatch",
        "DenseMatch",
        "HiddenStates",
        "PKD",
        "MiniLM",
        "CWDFeature",
    ],
    "relations": ["RKD", "PKT", "SP", "CC", "CRD", "CRDInBatch", "ICKD", "MarginMSE", "SKD"],
}
NAMES = [name for names in FAMILIES.values() for name in names]
LEARNED = {"EmbeddingMatch", "DenseMatch", "FitNet", "AB", "FT", "VID", "OFD", "ReviewKD", "CRD", "CRDInBatch", "ICKD"}
LEARNED |= {"CWDFeature"}
UNTRAINED = {"FT": {"encoder", "decoder"}}  # the paraphraser learns from ``pretraining_loss`` alone
NOT_ZERO_AT_EQUALITY = {
    "NKD": "a cross-entropy: its least value is the teacher's entropy",
    "TTM": "the teacher alone is softened",
    "WTTM": "the teacher alone is softened",
    "TfKD": "reads no teacher",
    "FitNet": "the student passes an adapter",
    "EmbeddingMatch": "the student passes a projection",
    "DenseMatch": "the student passes a projection",
    "AB": "an activation must exceed the margin on its side of 0",
    "FT": "the student passes a translator, the teacher a paraphraser",
    "VID": "a negative log-likelihood, of what a regressor predicts",
    "OFD": "the student passes connectors",
    "ReviewKD": "the student passes the fusion",
    "CRD": "contrastive: negatives count, and each side has its projection",
    "CRDInBatch": "contrastive: negatives count, and each side has its projection",
    "ICKD": "the student passes an adapter",
    "CWDFeature": "the student passes an adapter",
}
# What is compared after the adapter, as a function of features (a list of them) of equal shapes.
ZERO_FUNCTIONS = {
    "hint_loss": lambda s, t: losses.hint_loss(s[0], t[0]),
    "embedding_loss": lambda s, t: losses.embedding_loss(s[0], t[0]),
    "simkd_loss": lambda s, t: losses.simkd_loss(s[0], t[0]),
    "ft_loss": lambda s, t: losses.ft_loss(s[0], t[0]),
    "ickd_loss": lambda s, t: losses.ickd_loss(s[0], t[0]),
    "ofd_loss": lambda s, t: losses.ofd_loss(s, t, [losses.batch_margin(x) for x in t]),
    "reviewkd_loss": losses.reviewkd_loss,
    "rkd_distance": lambda s, t: losses.rkd_distance(s[0], t[0]),
    "rkd_angle": lambda s, t: losses.rkd_angle(s[0], t[0]),
    "vid_loss of variance 1": lambda s, t: losses.vid_loss(s[0], t[0], torch.ones(4, dtype=torch.float64)),
    "ttm_loss of gamma 1": lambda s, t: losses.ttm_loss(s[0].flatten(1), t[0].flatten(1), gamma=1.0),
    "wttm_loss of gamma 1": lambda s, t: losses.wttm_loss(s[0].flatten(1), t[0].flatten(1), gamma=1.0),
}


def value(loss, values):
    """The loss of a copy, so that no call changes what the next one sees."""
    torch.manual_seed(3)
    return copy.deepcopy(loss)(**values)


def test_every_loss_belongs_to_a_family():
    modules = {name for name in dir(losses) if isinstance(getattr(losses, name), type)}
    assert modules - {"ABF"} == set(NAMES)  # a layer of ReviewKD


@pytest.mark.parametrize("name", NAMES)
def test_zero_where_the_student_equals_the_teacher(name):
    loss = built(name).double()
    values = inputs(loss, dtype=torch.float64)
    equal = {key: values[key.replace("teacher_", "student_")] for key in values if key != "teacher_preactivations"}
    if "teacher_preactivations" in values:  # the student's stages, of which ReviewKD reads the features
        equal["teacher_preactivations"] = next(iter(values.values()))
    at_equality = value(loss, equal).item()
    if name in NOT_ZERO_AT_EQUALITY:
        assert abs(at_equality) > 1e-6, NOT_ZERO_AT_EQUALITY[name]
    else:
        assert at_equality == pytest.approx(0, abs=1e-10)
        assert value(loss, values).item() > 1e-6


@pytest.mark.parametrize("function", ZERO_FUNCTIONS.values(), ids=ZERO_FUNCTIONS.keys())
def test_a_function_is_zero_where_the_student_equals_the_teacher(function):
    torch.manual_seed(0)
    student, teacher = ([torch.randn(3, 4, 4, 4, dtype=torch.float64) for _ in range(2)] for _ in range(2))
    assert function(student, student).item() == pytest.approx(0, abs=1e-10)
    assert function(student, teacher).item() > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_right(name):
    """In float64, to which the module moves with its parameters; the targets and the teacher's side are constants."""
    loss = built(name).double()
    values = inputs(loss, samples=4, dtype=torch.float64)
    loss(**values)  # CRD takes the constant Z and the positives in its bank from a sample's first visit

    def of(*tensors):
        rest = iter(tensors)
        return value(loss, changed(values, lambda _: next(rest), "student_"))

    tensors = [tensor.requires_grad_() for tensor in student_tensors(values)]
    assert torch.autograd.gradcheck(of, tensors, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_the_student_and_all_parameters(name):
    loss = built(name)
    values = changed(inputs(loss), lambda tensor: tensor.requires_grad_(), "student_")
    result = loss(**values)
    result.backward()
    assert result.shape == ()
    assert result.dtype == torch.float32
    parameters = dict(loss.named_parameters())
    without = {key for key, parameter in parameters.items() if parameter.grad is None}
    assert without == {key for key in parameters if key.split(".")[0] in UNTRAINED.get(name, ())}
    trained = [*student_tensors(values), *(parameters[key] for key in parameters.keys() - without)]
    assert all(torch.isfinite(tensor.grad).all() for tensor in trained)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEARNED])
def test_half_precision_is_computed_in_float32(name):
    """bf16 inputs give what float64 gives of the same rounded numbers, and autocast changes nothing."""
    loss = built(name)
    low = inputs(loss, dtype=torch.bfloat16)
    exact = value(loss, changed(low, lambda x: x.double() if x.is_floating_point() else x))
    result = value(loss, low)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(exact.item(), rel=1e-4)
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
        result = value(loss, values)
    result.backward()
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(value(loss, values).item(), rel=0.03)
    assert all(torch.isfinite(tensor.grad).all() for tensor in student_tensors(values))


@pytest.mark.parametrize("name", NAMES)
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
