"""Semantic segmentation: which pixels count, at which size, what is measured, what is refused."""

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import accuracy_score, jaccard_score

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.term_builder import check_term
from distill.distillation.terms import Term
from distill.losses import CRD, DIST, KD, RKD
from distill.models.outputs import Outputs
from distill.tasks.segmentation import Segmentation
from distill.utils.errors import UserError

GENERATOR = torch.Generator().manual_seed(0)
TARGET = torch.randint(0, 3, (2, 8, 8), generator=GENERATOR).to(torch.uint8)
TARGET[0, :3], TARGET[1, 5] = 255, 255
VALID = TARGET != 255
LOGITS, OTHER = (torch.randn(2, 3, 8, 8, generator=GENERATOR) for _ in range(2))
SMALL = torch.randn(2, 3, 2, 4, generator=GENERATOR)


@pytest.fixture
def task():
    return Segmentation(3)


def criterion(task, loss, **settings):
    made = Criterion(0.5, [Term("term", loss)], task=task, **settings)
    made.losses["term"] = torch.nn.ModuleList([loss])
    made.student_layers["term"] = made.teacher_layers["term"] = []
    return made


def test_the_loss_is_the_mean_over_pixels_with_a_class(task):
    rows = LOGITS.permute(0, 2, 3, 1)[VALID].log_softmax(1)
    expected = -rows[torch.arange(len(rows)), TARGET[VALID].long()].mean()
    assert float(task.supervised_loss(LOGITS, TARGET)) == pytest.approx(float(expected), rel=1e-5)
    assert task.weight(TARGET) == int(VALID.sum())


def test_a_batch_without_any_class_counts_as_nothing(task):
    nothing, logits = torch.full_like(TARGET, 255), LOGITS.clone().requires_grad_()
    total = criterion(task, KD())(
        Outputs(logits, {}, None), Outputs(OTHER, {}, None), Batch(None, nothing, torch.arange(2))
    )
    total.total.backward()
    assert float(total.total.detach()) == 0
    assert float(logits.grad.abs().sum()) == 0
    metrics = task.metrics(with_agreement=True)
    metrics.update(Outputs(LOGITS, {}, None), Outputs(OTHER, {}, None), nothing)
    assert all(bool(value == 0) for value in metrics.compute().values())


def test_logits_of_a_stride_are_resized_to_the_mask(task):
    large = F.interpolate(SMALL, size=(8, 8), mode="bilinear", align_corners=False)
    for function in (task.supervised_loss, lambda output, target: task.rows(output, target).sum()):
        assert torch.equal(function(SMALL, TARGET), function(large, TARGET))
    assert task.measure(SMALL, TARGET) == task.measure(large, TARGET)
    assert torch.equal(task.rows(SMALL, TARGET), large.permute(0, 2, 3, 1)[VALID])


def test_logit_terms_see_pixels_with_a_class(task):
    made = criterion(task, KD(T=2.0))
    losses = made(Outputs(LOGITS, {}, None), Outputs(SMALL, {}, None), Batch(None, TARGET, torch.arange(2)))
    expected = KD(T=2.0)(task.rows(LOGITS, TARGET), task.rows(SMALL, TARGET))
    assert float(losses.parts["term"]) == pytest.approx(float(expected))


def test_a_loss_that_compares_rows_sees_a_sample_of_them():
    task = Segmentation(3, rows=10)
    made, batch = criterion(task, DIST()), Batch(None, TARGET, torch.arange(2))
    torch.manual_seed(5)
    value = made(Outputs(LOGITS, {}, None), Outputs(OTHER, {}, None), batch).parts["term"]
    torch.manual_seed(5)
    rows = torch.randperm(int(VALID.sum()))[:10]
    expected = DIST()(task.rows(LOGITS, TARGET)[rows], task.rows(OTHER, TARGET)[rows])
    assert float(value) == pytest.approx(float(expected))
    assert task.compared_rows(10, torch.device("cpu")) is None


def test_metrics_are_those_of_scikit_learn(task):
    true, predicted, expected = TARGET[VALID], LOGITS.argmax(1)[VALID], OTHER.argmax(1)[VALID]
    measured = task.measure(LOGITS, TARGET, teacher=OTHER)
    assert measured["miou"] == pytest.approx(jaccard_score(true, predicted, average="macro"))
    assert measured["acc"] == pytest.approx(accuracy_score(true, predicted))
    assert measured["agreement"] == pytest.approx(accuracy_score(expected, predicted))
    by_class = task.by_output(LOGITS, TARGET)["IoU"]
    assert by_class == pytest.approx(jaccard_score(true, predicted, average=None).tolist())
    assert (
        task.measure(
            task.recorded(Outputs(LOGITS, {}, None), TARGET),
            TARGET,
            teacher=task.recorded(Outputs(OTHER, {}, None), TARGET),
        )
        == measured
    )
    assert task.by_output(task.recorded(Outputs(LOGITS, {}, None), TARGET), TARGET)["IoU"] == by_class


def test_a_class_that_is_nowhere_does_not_count():
    target, logits = torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1, 3, 2, 2)
    logits[:, 0] = 1
    assert Segmentation(3).measure(logits, target)["miou"] == 1


def test_the_hardest_are_those_with_the_most_wrong_pixels(task):
    wrong = ((LOGITS.argmax(1) != TARGET) & VALID).flatten(1).sum(1) / VALID.flatten(1).sum(1)
    assert torch.allclose(task.sample_losses(LOGITS, TARGET), wrong)
    assert torch.equal(
        task.sample_losses(task.recorded(Outputs(LOGITS, {}, None), TARGET), TARGET), task.sample_losses(LOGITS, TARGET)
    )


def test_predictions_are_shares_of_the_picture(task):
    names = ["a", "b", "c"]
    shares = task.target_values(TARGET[0], names)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["b"] == pytest.approx(float((TARGET[0][VALID[0]] == 1).float().mean()))
    (whole,) = task.decode(LOGITS[:1], names)
    assert whole["c"] == pytest.approx(float((LOGITS[0].argmax(0) == 2).float().mean()))
    inside = task.predicted_values(LOGITS[0], names, TARGET[0])
    assert inside["c"] == pytest.approx(float((LOGITS[0].argmax(0)[VALID[0]] == 2).float().mean()))


def test_the_second_head_counts_in_training_alone(task):
    made = criterion(task, KD(), auxiliary="aux")
    assert made.extracted_layers("student") == ["aux"]
    student, teacher = Outputs(LOGITS, {"aux": SMALL}, None), Outputs(OTHER, {}, None)
    batch = Batch(None, TARGET, torch.arange(2))
    trained, measured = made.train()(student, teacher, batch), made.eval()(student, teacher, batch)
    second = float(task.supervised_loss(SMALL, TARGET))
    assert float(trained.parts["auxiliary"]) == pytest.approx(second)
    assert float(trained.total - measured.total) == pytest.approx(0.5 * 0.4 * second, rel=1e-4)
    assert "auxiliary" not in measured.parts
    assert float(trained.parts["hard"]) == float(measured.parts["hard"])


@pytest.mark.parametrize("loss", [CRD(), RKD()])
def test_terms_on_whole_images_are_refused(task, loss):
    with pytest.raises(UserError, match="it compares whole images, and here every pixel has a class"):
        check_term(Term("term", loss), task)


def test_what_is_said_of_a_stride(task):
    assert task.note((2, 3, 8, 8), torch.zeros(2, 3, 8, 8)) is None
    assert task.note((2, 3, 2, 4), torch.zeros(2, 3, 8, 8)).startswith(
        "its logits of 2 x 4 are resized to the masks' 8 x 8"
    )


def test_several_teachers_are_combined_by_pixel(task):
    combined = task.combined([LOGITS, SMALL], TARGET, lambda outputs, _: torch.stack(list(outputs)).mean(0))
    large = F.interpolate(SMALL, size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(combined, (LOGITS + large) / 2)


@pytest.mark.parametrize(("settings", "problem"), [({"rows": 1}, "task.rows"), ({"auxiliary": -1}, "task.auxiliary")])
def test_values_out_of_range(settings, problem):
    with pytest.raises(UserError, match=problem):
        Segmentation(3, **settings)


def test_metrics_over_batches_are_those_of_all_pixels_together(task):
    metrics = task.metrics(with_agreement=False)
    for i in range(2):
        metrics.update(Outputs(LOGITS[i : i + 1], {}, None), None, TARGET[i : i + 1])
    assert float(metrics.compute()["miou"]) == pytest.approx(task.measure(LOGITS, TARGET)["miou"])
