"""Metrics against numpy and scikit-learn, from the formulas."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss, top_k_accuracy_score

from distill.evaluation.compare_predictions import compare_predictions, most
from distill.evaluation.scores import BINS, below_one, brier, confident, losses, reliability, scores

N, C = 400, 8


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, C, (N,), generator=generator)
    logits, other = (3 * torch.randn(N, C, generator=generator) for _ in range(2))
    return logits + 2 * torch.nn.functional.one_hot(target, C), other, target


def test_scores(answers):
    logits, _, target = answers
    found, z, y = scores(logits, target), logits.double().numpy(), target.numpy()
    p, guess = softmax(z, axis=1), z.argmax(1)
    assert found.acc == pytest.approx(accuracy_score(y, guess))
    assert found.top5 == pytest.approx(top_k_accuracy_score(y, z, k=5))
    assert found.macro_f1 == pytest.approx(f1_score(y, guess, average="macro"))
    assert found.nll == pytest.approx(log_loss(y, p), rel=1e-5)
    assert found.brier == pytest.approx(((p - np.eye(C)[y]) ** 2).sum(1).mean(), rel=1e-5)
    matrix = confusion_matrix(y, guess)
    assert found.confusion == matrix.tolist()
    assert found.per_class == pytest.approx(matrix.diagonal() / matrix.sum(1))


def test_ece_and_its_bins(answers):
    logits, _, target = answers
    found, y = scores(logits, target), target.numpy()
    p = softmax(logits.double().numpy(), axis=1)
    confidence, right = p.max(1), p.argmax(1) == y
    edges = np.linspace(0, 1, BINS + 1)
    expected = 0.0
    for i, each in enumerate(found.reliability):
        inside = (confidence >= edges[i]) & (confidence < edges[i + 1])
        assert each.count == inside.sum()
        if inside.any():
            assert each.confidence == pytest.approx(confidence[inside].mean(), rel=1e-5)
            assert each.accuracy == pytest.approx(right[inside].mean())
            expected += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    assert found.ece == pytest.approx(expected, rel=1e-4)
    assert sum(each.count for each in found.reliability) == N


def test_certain_answers_share_the_last_bin():
    logits = torch.tensor([[200.0, 0.0], [4.0, 0.0], [200.0, 0.0]])
    target = torch.tensor([0, 1, 1])
    found = scores(logits, target)
    assert found.reliability[-1].count == 3
    p = np.array([1.0, 1 / (1 + np.exp(-4)), 1.0])
    assert found.ece == pytest.approx(abs(p.mean() - 1 / 3), rel=1e-5)
    assert float(below_one(torch.ones(1))) < 1
    assert found.top5 is None
    assert reliability(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), bins=3)[0].accuracy is None


def test_a_class_without_images_has_no_accuracy():
    found = scores(torch.eye(3), torch.tensor([0, 1, 1]))
    assert found.per_class == [1.0, 0.5, None]


def test_ties_stay_ties_in_bf16():
    logits = torch.tensor([[1.0, 1.001, 0.0]], dtype=torch.bfloat16)
    assert scores(logits, torch.tensor([0])).acc == 1.0


def test_comparison(answers):
    logits, other, target = answers
    found, y = compare_predictions(logits, other, target, list(map(str, range(C)))), target.numpy()
    log_p, log_q = (log_softmax(z.double().numpy(), axis=1) for z in (other, logits))
    assert found.kl == pytest.approx((np.exp(log_p) * (log_p - log_q)).sum(1).mean(), rel=1e-5)
    a, b = (z.numpy().argmax(1) for z in (logits, other))
    assert found.agreement == pytest.approx((a == b).mean())
    for key, mask in (
        ("both_right", (a == y) & (b == y)),
        ("only_student_right", (a == y) & (b != y)),
        ("only_other_right", (a != y) & (b == y)),
        ("both_wrong", (a != y) & (b != y)),
    ):
        assert vars(getattr(found, key)) == {"count": mask.sum(), "share": pytest.approx(mask.mean())}


def test_the_largest_changes_come_first():
    """Per class of ten samples: how many the student has right, and the other model."""
    right = {"a": (1, 4), "b": (9, 5), "c": (5, 6), "d": (3, 3)}
    target = torch.arange(4).repeat_interleave(10)
    wrong = (target + 1) % 4

    def logits(model):
        hits = torch.cat([torch.arange(10) < counts[model] for counts in right.values()])
        return torch.nn.functional.one_hot(torch.where(hits, target, wrong), 5).float()

    found = compare_predictions(logits(0), logits(1), target, [*right, "without images"])
    assert [(row.name, row.student, row.other) for row in found.lost] == [
        ("a", pytest.approx(0.1), pytest.approx(0.4)), ("c", 0.5, pytest.approx(0.6)),
    ]  # fmt: skip
    assert [row.name for row in found.gained] == ["b"]
    assert found.gained[0].change == pytest.approx(0.4)
    assert found.as_json()["gained"][0]["class"] == "b"


def test_the_hardest(answers):
    logits, _, target = answers
    loss = -log_softmax(logits.double().numpy(), axis=1)[np.arange(N), target.numpy()]
    assert losses(logits, target).numpy() == pytest.approx(loss, rel=1e-4, abs=1e-6)
    assert most(losses(logits, target), shown=3) == np.argsort(-loss)[:3].tolist()
    answer, probability = confident(logits)
    assert probability.numpy() == pytest.approx(softmax(logits.numpy(), axis=1).max(1), rel=1e-5)
    assert answer.tolist() == logits.argmax(1).tolist()


def test_brier_of_certainty():
    assert brier(torch.eye(2), torch.tensor([1, 0])) == 2.0
