"""Several labels per sample: loss, two-way rows, metrics, what is refused."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from distill.distillation.criterion import Criterion
from distill.distillation.terms import Term
from distill.losses import CRD, DIST, DKD, KD, MLKD, RKD, FitNet
from distill.models.outputs import Outputs
from distill.tasks.multilabel import Multilabel
from distill.utils.errors import UserError

GENERATOR = torch.Generator().manual_seed(0)
LOGITS, TEACHER = torch.randn(40, 3, generator=GENERATOR), torch.randn(40, 3, generator=GENERATOR)
TARGET = (torch.rand(40, 3, generator=GENERATOR) < 0.4).float()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_supervised_loss_is_the_mean_binary_cross_entropy(smoothing):
    p, y = LOGITS.double().sigmoid(), TARGET.double() * (1 - smoothing) + smoothing / 2
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert float(Multilabel(3).supervised_loss(LOGITS, TARGET, smoothing)) == pytest.approx(float(expected), rel=1e-5)


def test_kd_on_its_rows_is_the_mean_divergence_of_every_decision():
    task = Multilabel(3)
    p, q = (TEACHER.double() / 2).sigmoid(), (LOGITS.double() / 2).sigmoid()
    expected = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean()
    loss = KD(T=2.0)(task.rows(LOGITS), task.rows(TEACHER))
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_rows_and_their_targets_belong_together():
    task = Multilabel(2)
    rows, targets = (
        task.rows(torch.tensor([[9.0, -9.0], [-9.0, 9.0]])),
        task.row_targets(torch.tensor([[1, 0], [0, 1.0]])),
    )
    assert rows.shape == (4, 2)
    assert rows.argmax(1).tolist() == targets.tolist() == [1, 0, 0, 1]


def test_the_metrics_are_those_of_scikit_learn():
    metrics = Multilabel(3, threshold=0.6).metrics(with_agreement=True)
    for rows in torch.arange(40).split(16):
        outputs = (Outputs(each[rows], {}, None) for each in (LOGITS, TEACHER))
        metrics.update(*outputs, TARGET[rows])
    values = {name: float(value) for name, value in metrics.compute().items()}
    p, taught = LOGITS.sigmoid(), TEACHER.sigmoid() > 0.6
    assert values["map"] == pytest.approx(average_precision_score(TARGET, p, average="macro"), rel=1e-5)
    assert values["f1"] == pytest.approx(f1_score(TARGET, p > 0.6, average="macro"), rel=1e-5)
    assert values["agreement"] == pytest.approx(float(((p > 0.6) == taught).float().mean()))
    by_label = Multilabel(3, threshold=0.6).by_output(LOGITS, TARGET)
    assert sum(by_label["average precision"]) / 3 == pytest.approx(values["map"], rel=1e-5)
    assert sum(by_label["F1"]) / 3 == pytest.approx(values["f1"], rel=1e-5)


def test_what_is_predicted_has_a_threshold():
    (one,) = Multilabel(2, threshold=0.7).decode(torch.tensor([[1.0, 0.0]]), ["red", "bright"])
    assert one["labels"] == ["red"]
    assert one["red"] == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize("loss", [DIST(), MLKD(), CRD()])
def test_terms_that_make_no_sense_are_refused(loss):
    assert Multilabel(3).refusal(Term("x", loss))


@pytest.mark.parametrize("loss", [KD(), DKD(), RKD(), FitNet()])
def test_the_others_are_taken(loss):
    assert Multilabel(3).refusal(Term("x", loss)) is None


def test_the_criterion_shows_a_term_rows_and_their_targets():
    class Seen(nn.Module):
        def forward(self, student_logits, target):
            self.shapes = student_logits.shape, target.tolist()
            return student_logits.sum()

    class Batch:
        inputs = None
        target, index = TARGET[:2], torch.arange(2)

    seen = Seen()
    criterion = Criterion(0.5, [Term("seen", seen)], task=Multilabel(3))
    criterion.losses["seen"] = nn.ModuleList([seen])
    criterion.student_layers["seen"] = criterion.teacher_layers["seen"] = []
    criterion(Outputs(LOGITS[:2], {}, None), None, Batch)
    assert seen.shapes == ((6, 2), TARGET[:2].flatten().tolist())


def test_mistakes():
    with pytest.raises(UserError, match=r"task.threshold must lie between 0 and 1, both excluded, got 1"):
        Multilabel(3, threshold=1)
    with pytest.raises(UserError, match="task.score=acc: multilabel has no such metric"):
        Multilabel(3, score="acc")


def test_standardised_rows_of_two_logits_are_refused():
    assert (
        Multilabel(3).refusal(Term("kd", KD(), standardize=True))
        == "standardize=true makes every row of two logits alike"
    )
