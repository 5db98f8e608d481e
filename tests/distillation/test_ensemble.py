import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, logit, softmax
from torch import nn

from distill.config.schedules import Schedule
from distill.data import Batch
from distill.distillation.ensemble import ConfidenceMean, Ensemble, WeightedMean, combine, confidence
from distill.distillation.teacher import Teacher
from distill.losses import kd_loss
from distill.models import resnet8, resnet14
from distill.models.outputs import Outputs
from distill.tasks.classification import Classification
from distill.tasks.multilabel import Multilabel
from distill.tasks.regression import Regression
from distill.tasks.tokens import TokenClassification
from distill.utils.errors import UserError

torch.manual_seed(0)
LOGITS = [3 * torch.randn(5, 7, dtype=torch.float64) for _ in range(3)]
TARGET = torch.tensor([0, 3, 6, 2, 1])


@pytest.mark.parametrize("T", [0.5, 4.0, 100.0])
def test_the_mean_of_the_softened_outputs(T):
    weights = np.array([0.2, 0.5, 0.3])
    z = combine(LOGITS, torch.tensor(weights), T)
    expected = sum(w * softmax(t.numpy() / T, axis=1) for w, t in zip(weights, LOGITS, strict=True))
    np.testing.assert_allclose(softmax(z.numpy() / T, axis=1), expected, rtol=1e-9)


def test_learning_from_the_mean_has_the_gradient_of_the_weighted_losses():
    weights, T = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), 4.0
    s = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    (one,) = torch.autograd.grad(kd_loss(s, combine(LOGITS, weights, T), T), s)
    each = sum(w * kd_loss(s, t, T) for w, t in zip(weights, LOGITS, strict=True))
    (several,) = torch.autograd.grad(each, s)
    torch.testing.assert_close(one, several)


def test_confidence_equals_the_formula():
    losses = np.stack([-log_softmax(t.numpy(), axis=1)[np.arange(5), TARGET.numpy()] for t in LOGITS], axis=1)
    expected = (1 - np.exp(losses) / np.exp(losses).sum(1, keepdims=True)) / 2
    weights = confidence(LOGITS, TARGET)
    np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-9)
    np.testing.assert_allclose(weights.sum(1).numpy(), 1)
    assert confidence(LOGITS[:1], TARGET).tolist() == [[1.0]] * 5


def test_an_ensemble_predicts_as_one_teacher():
    nets = [resnet8(10).eval(), resnet14(10).eval()]
    batch = Batch(torch.randn(4, 3, 16, 16), torch.arange(4), torch.arange(4))
    mean = WeightedMean(T=2.0, weights=[3, 1])
    teachers = [Teacher(nets[0], ["layer2"], "fc"), Teacher(nets[1])]
    ensemble = Ensemble(teachers, mean, Classification(10), {"T": Schedule("linear", 2.0, 4.0)})
    outputs = ensemble(batch)
    separate = [teacher(batch) for teacher in teachers]
    torch.testing.assert_close(outputs.logits, combine([o.logits for o in separate], torch.tensor([0.75, 0.25]), 2.0))
    torch.testing.assert_close(outputs.features["layer2"], separate[0].features["layer2"])
    torch.testing.assert_close(outputs.embedding, separate[0].embedding)
    ensemble.start_epoch(1, 2)
    assert mean.T == 4.0
    assert not torch.equal(ensemble(batch).logits, outputs.logits)


class Fixed(Teacher):
    """Predicts the same for every batch."""

    def __init__(self, output):
        super().__init__(nn.Identity())
        self.output = output

    def __call__(self, batch, split="train"):
        return Outputs(self.output, {}, None)


def ensemble_of(outputs, task, mean, target):
    batch = Batch(torch.zeros(len(target)), target, torch.arange(len(target)))
    return Ensemble([Fixed(output) for output in outputs], mean, task)(batch).logits


def test_of_several_labels_the_probability_of_each_is_averaged():
    target = torch.tensor([[0.0, 1, 1], [1, 0, 0]])
    outputs = [4 * torch.randn(2, 3, dtype=torch.float64) for _ in range(2)]
    z = ensemble_of(outputs, Multilabel(3), WeightedMean(2.0, [3, 1]), target)
    expected = 0.75 * expit(outputs[0].numpy() / 2) + 0.25 * expit(outputs[1].numpy() / 2)
    np.testing.assert_allclose(expit(z.numpy() / 2), expected, rtol=1e-6)
    signs = 2 * target.double() - 1
    weighed = ensemble_of([4 * signs, -4 * signs], Multilabel(3), ConfidenceMean(1.0), target)
    p = expit(4)  # of the right answer by the one that is sure of it, whose weight is p as well
    np.testing.assert_allclose(weighed.numpy(), logit(p**2 + (1 - p) ** 2) * signs.numpy(), rtol=1e-6)


def test_numbers_are_averaged():
    outputs, target = [torch.tensor([[1.0, -2.0]]), torch.tensor([[5.0, 2.0]])], torch.zeros(1, 2)
    task = Regression(2, [0.0, 0.0], [1.0, 1.0])
    assert ensemble_of(outputs, task, WeightedMean(4.0, [3, 1]), target).tolist() == [[2.0, -1.0]]
    assert ensemble_of([o.bfloat16() for o in outputs], task, WeightedMean(), target).tolist() == [[3.0, 0.0]]


def test_words_are_averaged_where_there_are_any():
    outputs, target = [torch.randn(2, 4, 5) for _ in range(2)], torch.tensor([[0, 4, -100, -100], [1, 2, 3, -100]])
    combined = ensemble_of(
        outputs, TokenClassification(5, ["O", "B-a", "I-a", "B-b", "I-b"]), ConfidenceMean(2.0), target
    )
    assert combined.shape == (2, 4, 5)
    words = [output[target >= 0] for output in outputs]
    expected = combine(words, confidence(words, target[target >= 0]), 2.0)
    torch.testing.assert_close(combined[target >= 0], expected)


def test_teachers_are_weighed_by_their_confidence():
    combined = ConfidenceMean(2.0)(LOGITS, TARGET)
    torch.testing.assert_close(combined, combine(LOGITS, confidence(LOGITS, TARGET), 2.0))
    assert not torch.allclose(combined, WeightedMean(2.0)(LOGITS, TARGET), rtol=1e-2)


@pytest.mark.parametrize("classes", [2, 22000])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("per_sample", [False, True])
def test_few_and_many_classes_and_one_sample(classes, samples, per_sample):
    torch.manual_seed(0)
    logits = [5 * torch.randn(samples, classes, dtype=torch.float64) for _ in range(2)]
    target = torch.arange(samples) % classes
    weights = confidence(logits, target) if per_sample else torch.tensor([0.25, 0.75], dtype=torch.float64)
    shares = weights.numpy().reshape(-1, 2)
    expected = sum(shares[:, k : k + 1] * softmax(z.numpy() / 4.0, axis=1) for k, z in enumerate(logits))
    combined = combine(logits, weights, 4.0)
    np.testing.assert_allclose(softmax(combined.numpy() / 4.0, axis=1), expected, rtol=1e-9)
    low = combine([z.float() for z in logits], weights.float(), 4.0)
    torch.testing.assert_close(low.double(), combined, rtol=1e-4, atol=1e-4)


def test_half_precision_and_bad_values():
    half = combine([t.bfloat16() for t in LOGITS], torch.ones(3) / 3, 4.0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), combine(LOGITS, torch.ones(3) / 3, 4.0), atol=0.05, rtol=0.02)
    with pytest.raises(ValueError, match=r"teachers must answer in one shape, got \[\(5, 7\), \(5, 6\)\]"):
        combine([LOGITS[0], LOGITS[1][:, :6]], torch.ones(2), 4.0)
    with pytest.raises(ValueError, match=r"weights must be finite numbers above 0, got \[1, 0\]"):
        WeightedMean(weights=[1, 0])
    with pytest.raises(ValueError, match="T must be a finite number above 0, got 0"):
        WeightedMean(T=0)
    with pytest.raises(UserError, match=r"kd.ensemble.weights must be one per teacher, 3, got \[1, 2\]"):
        WeightedMean(weights=[1, 2]).check(3)
