"""The task without labels: what it refuses, and what it tells a model."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from distill.config.schema import KDConfig
from distill.distillation.terms import Term
from distill.losses import CRD, FSP, KD, PKT, RKD, DenseMatch, EmbeddingMatch, OutputMSE
from distill.tasks.embedding import Embedding
from distill.training.unlabelled import check, check_teacher
from distill.utils.errors import UserError

TASK = Embedding(num_classes=10)


@pytest.mark.parametrize("loss", [RKD(), PKT(), EmbeddingMatch(), DenseMatch(), FSP()])
def test_features_and_relations_need_no_labels(loss):
    pretraining = SimpleNamespace(epochs=1, weight=1.0) if isinstance(loss, FSP) else None
    assert TASK.refusal(Term("term", loss, pretraining=pretraining)) is None


@pytest.mark.parametrize(
    ("loss", "reason"), [(KD(), "outputs of classifiers"), (OutputMSE(), "outputs of"), (CRD(), "it needs labels")]
)
def test_terms_that_are_refused(loss, reason):
    assert reason in TASK.refusal(Term("term", loss))


def test_models_get_no_classes_and_no_loss():
    data = SimpleNamespace(num_classes=10, model_arguments=lambda output: {"in_channels": 1, "image_size": 28})
    assert TASK.model_arguments(data) == {"num_classes": 2, "class_names": None, "in_channels": 1, "image_size": 28}
    assert TASK.supervised_loss(torch.zeros(3, 5), torch.zeros(3)) is None
    assert TASK.info.score == "spearman"
    assert [metric.name for metric in TASK.info.metrics] == ["spearman", "knn_overlap"]
    probed = Embedding(num_classes=10, probe="photos")  # a finished run opens without the folder
    assert [metric.name for metric in probed.info.metrics][2:] == ["knn", "probe", "random_knn", "random_probe"]
    with pytest.raises(UserError, match=r"task.score=probe: embedding has no such metric"):
        Embedding(num_classes=10, score="probe", probe="photos")


def test_a_probe_that_is_not_there():
    data = SimpleNamespace(preprocess=SimpleNamespace(channels=3))
    with pytest.raises(UserError, match="task.probe: folder nowhere does not exist"):
        Embedding(num_classes=10, probe="nowhere").prepare(data)
    assert Embedding(num_classes=10).final_scores(nn.Identity()) == {}


TERMS = [Term("embedding", EmbeddingMatch())]


@pytest.mark.parametrize(
    ("kd", "message"),
    [
        ({"alpha": 0.5}, r"kd.alpha=0.5 weighs the loss on labels, and task=embedding has no labels: set it to 0"),
        ({"alpha": 0.0, "label_smoothing": 0.1}, "kd.label_smoothing=0.1 smooths labels"),
        ({"alpha": None, "terms": {}}, "kd has no term that learns from a teacher: kd=embedding has"),
        ({"alpha": None, "peers": [{}]}, "kd.peers lets untrained models teach each other"),
        ({"alpha": None, "student_wrapper": {"_target_": "x"}}, "kd.student_wrapper puts the teacher's classifier"),
    ],
)
def test_criteria_that_need_labels(kd, message):
    with pytest.raises(UserError, match=message):
        check(KDConfig(**kd), [] if kd.get("terms") == {} else TERMS, TASK)


@pytest.mark.parametrize("alpha", [None, 0, 0.0])
def test_criteria_that_need_none(alpha):
    check(KDConfig(alpha=alpha), TERMS, TASK)


def test_a_teacher_comes_with_its_weights():
    check_teacher({"checkpoint": "file.pt"}, "teacher", 20, TASK)
    check_teacher({"pretrained": True}, "teacher", 0, TASK)
    with pytest.raises(UserError, match=r"max_epochs=20 trains a teacher, and .* has no labels: leave it out$"):
        check_teacher({"pretrained": True}, "teacher", 20, TASK)
    with pytest.raises(UserError, match=r"no labels: leave it out, and set teacher.pretrained=true or give teacher.c"):
        check_teacher({}, "teacher", 20, TASK)
    with pytest.raises(UserError, match=r"no labels to train a teacher with: set teacher.pretrained=true or give"):
        check_teacher({}, "teacher", 0, TASK)
