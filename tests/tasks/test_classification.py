"""The task of one label per image: its loss, its metrics, what it tells a model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distill.models.outputs import Outputs
from distill.tasks.classification import Classification
from distill.tasks.metrics import ClassificationMetrics
from distill.utils.errors import UserError


def cross_entropy(logits, target, smoothing):
    """From the formula, in float64; ``target`` are shares (N, C)."""
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    shares = (1 - smoothing) * target + smoothing / logits.shape[1]
    return -(shares * log_p).sum(1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixed", [False, True])
def test_supervised_loss(smoothing, mixed):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=generator)
    shares = torch.rand(6, 5, generator=generator).softmax(1) if mixed else torch.eye(5)[torch.arange(6) % 5]
    target = shares if mixed else shares.argmax(1)
    expected = cross_entropy(logits.double().numpy(), shares.double().numpy(), smoothing)
    assert Classification(5).supervised_loss(logits, target, smoothing).item() == pytest.approx(expected, rel=1e-5)


def test_supervised_loss_is_computed_in_float32():
    logits = torch.tensor([[3.0, -2.0, 0.5]], dtype=torch.bfloat16)
    loss = Classification(3).supervised_loss(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert torch.equal(loss, Classification(3).supervised_loss(logits.float(), torch.tensor([1])))


def test_metrics_over_several_batches_with_and_without_a_teacher():
    metrics = Classification(10).metrics(with_agreement=True)
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(20, 10, generator=generator), torch.randn(20, 10, generator=generator)
    target = torch.randint(10, (20,), generator=generator)
    for rows in torch.arange(20).split(8):  # the last batch is short, and its teacher is not asked
        asked = None if len(rows) < 8 else Outputs(teacher[rows], {}, None)
        metrics.update(Outputs(logits[rows], {}, None), asked, target[rows])
    values = metrics.compute()
    order = logits.argsort(1, descending=True)
    assert values["acc"].item() == pytest.approx((order[:, 0] == target).float().mean().item())
    assert values["top5"].item() == pytest.approx((order[:, :5] == target[:, None]).any(1).float().mean().item())
    assert values["agreement"].item() == pytest.approx((order[:16, 0] == teacher[:16].argmax(1)).float().mean().item())
    metrics.update(Outputs(logits, {}, None), None, torch.nn.functional.one_hot(order[:, 0], 10).float())
    values = metrics.compute()  # reset, and a mixed sample counts as its larger share
    assert values["acc"].item() == 1.0
    assert "agreement" not in values


def test_top5_needs_more_than_five_classes_and_agreement_a_teacher():
    assert set(ClassificationMetrics(5, with_agreement=False).counts) == {"acc"}


def test_what_a_model_is_given_and_what_chooses():
    data = SimpleNamespace(num_classes=7, model_arguments=lambda output: {"in_channels": 3, "image_size": 32})
    arguments = Classification(7).model_arguments(data)
    assert arguments == {"num_classes": 7, "in_channels": 3, "image_size": 32}
    score = Classification(7).score
    assert (score.name, score.direction) == ("acc", "max")


def test_more_metrics_where_they_are_asked_for():
    logits, target = torch.tensor([[2.0, 0], [2.0, 0], [0, 2.0], [2.0, 0]]), torch.tensor([0, 0, 1, 1])
    task = Classification(2, kind="text")
    assert [metric.name for metric in task.info.metrics] == ["acc", "agreement", "f1", "matthews"]
    found = task.measure(logits, target)
    assert found["f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["matthews"] == pytest.approx(1 / 3**0.5)
    assert [metric.name for metric in Classification(2, metrics=["f1"]).info.metrics] == ["acc", "agreement", "f1"]
    assert Classification(2, score="matthews").info.chooses.name == "matthews"
    assert [metric.name for metric in Classification(2).info.metrics] == ["acc", "agreement"]
    with pytest.raises(UserError, match=r"task.metrics: classification has no metric 'recall'; Allowed: f1, matthews"):
        Classification(2, metrics=["recall"])
