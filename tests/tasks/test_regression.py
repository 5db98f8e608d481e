"""Numbers: standardised losses, metrics in the units of the data, what is refused."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from distill.distillation.terms import Term
from distill.losses import CRD, KD, RKD, FitNet, OutputMSE
from distill.models.outputs import Outputs
from distill.tasks.regression import Regression
from distill.utils.errors import UserError

GENERATOR = torch.Generator().manual_seed(0)
MEAN, STD = torch.tensor([40.0, -1.0]), torch.tensor([12.0, 0.5])
TARGET = MEAN + STD * torch.randn(50, 2, generator=GENERATOR)
OUTPUT = (TARGET - MEAN) / STD + 0.3 * torch.randn(50, 2, generator=GENERATOR)


def task(**settings):
    return Regression(2, MEAN, STD, **settings)


def test_the_loss_is_of_standardised_numbers():
    error = (OUTPUT - (TARGET - MEAN) / STD).numpy()
    assert float(task().supervised_loss(OUTPUT, TARGET)) == pytest.approx((error**2).mean(), rel=1e-5)
    huber = np.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5).mean()
    assert float(task(loss="huber").supervised_loss(OUTPUT, TARGET)) == pytest.approx(huber, rel=1e-5)


def test_the_metrics_are_in_the_units_of_the_data():
    metrics, teacher = task().metrics(with_agreement=True), OUTPUT + 1.0
    for rows in torch.arange(50).split(16):
        outputs = (Outputs(each[rows], {}, None) for each in (OUTPUT, teacher))
        metrics.update(*outputs, TARGET[rows])
    values = {name: float(value) for name, value in metrics.compute().items()}
    predicted, true = (OUTPUT * STD + MEAN).numpy(), TARGET.numpy()
    columns = [(predicted[:, i], true[:, i]) for i in (0, 1)]
    assert values == pytest.approx(
        {
            "rmse": root_mean_squared_error(true, predicted),
            "mae": mean_absolute_error(true, predicted),
            "r2": r2_score(true, predicted),
            "pearson": np.mean([stats.pearsonr(*pair).statistic for pair in columns]),
            "spearman": np.mean([stats.spearmanr(*pair).statistic for pair in columns]),
            "teacher_rmse": float(STD.mean()),
        },
        rel=1e-4,
    )
    by_number = task().by_output(OUTPUT, TARGET)
    assert np.mean(by_number["RMSE"]) == pytest.approx(values["rmse"], rel=1e-4)
    assert np.mean(by_number["R²"]) == pytest.approx(values["r2"], rel=1e-4)


def test_one_number_that_is_constant():
    values = Regression(1, [3.0], [1.0]).measure(torch.tensor([[0.5], [0.1]]), torch.tensor([[3.0], [3.0]]))
    assert values["rmse"] == pytest.approx((0.13) ** 0.5)


def test_smaller_errors_are_better_and_larger_correlations():
    assert (task().score.name, task().score.direction) == ("rmse", "min")
    assert task(score="r2").score.direction == "max"


def test_what_is_predicted_is_in_units():
    assert task().decode(torch.tensor([[1.0, -1.0]]), ["age", "weight"]) == [{"age": 52.0, "weight": -1.5}]


def test_logit_terms_are_refused_with_the_reason():
    assert task().refusal(Term("kd", KD())) == "it compares distributions over classes, and this task has none"
    assert task().refusal(Term("crd", CRD())) == "it needs one class per sample"
    assert not any(task().refusal(Term("x", loss)) for loss in (OutputMSE(), RKD(), FitNet()))


def test_a_teacher_that_predicts_the_mean_is_weak():
    assert "hardly better than the mean" in task().weakness({"r2": 0.02})
    assert task().weakness({"r2": 0.6}) is None


def test_mistakes():
    with pytest.raises(UserError, match="task.loss must be mse or huber, got 'l1'"):
        task(loss="l1")
    with pytest.raises(UserError, match="label_smoothing is for classes"):
        task().supervised_loss(OUTPUT, TARGET, 0.1)
