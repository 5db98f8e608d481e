"""Models of transformers distilled in a script of one's own, from batches of dicts and of what a tokenizer returns."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader

import distill
from quiet_trainer import WARNINGS, trainer
from text_models import batch, save_model

pytestmark = WARNINGS


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("kd", ["kd", ["kd", "hidden"], ["reverse_kl", "minilm"]])
def test_models_of_transformers_learn_from_batches_of_dicts(tmp_path, kd):
    transformers = pytest.importorskip("transformers")
    folders = (save_model(tmp_path / name, head="SequenceClassification", seed=i) for i, name in enumerate("ab"))
    student, teacher = map(transformers.AutoModelForSequenceClassification.from_pretrained, folders)
    texts = [{"labels": torch.arange(3) % 2, **batch(seed=seed)} for seed in range(4)]
    before = copy.deepcopy(student.state_dict())
    module = distill.Distiller(student, teacher, kd=kd)
    trainer().fit(module, DataLoader(texts, batch_size=None))
    assert any(not torch.equal(value, before[name]) for name, value in student.state_dict().items())
    (answers, *_) = trainer().predict(module, DataLoader(texts, batch_size=None))
    student.eval()
    inputs = {key: value for key, value in texts[0].items() if key != "labels"}
    torch.testing.assert_close(answers, student(**inputs).logits)


def classifiers(tmp_path, **settings):
    transformers = pytest.importorskip("transformers")
    head = "SequenceClassification"
    folders = [save_model(tmp_path / name, head=head, seed=i, **settings) for i, name in enumerate("ab")]
    return [transformers.AutoModelForSequenceClassification.from_pretrained(folder) for folder in folders]


def test_a_batch_may_hold_what_a_tokenizer_returns(tmp_path):
    """A BatchEncoding beside the target trains as a dict with labels does."""
    from transformers import BatchEncoding

    weights = []
    for make in (lambda inputs, y: (BatchEncoding(inputs), y), lambda inputs, y: {**inputs, "labels": y}):
        torch.manual_seed(0)
        student, teacher = classifiers(tmp_path)
        batches = [make(batch(seed=seed), torch.arange(3) % 2) for seed in range(3)]
        module = distill.Distiller(student, teacher, example=BatchEncoding(batch()))
        trainer().fit(module, DataLoader(batches, batch_size=None))
        weights.append(student.state_dict())
        answers = trainer().predict(module, DataLoader(batches, batch_size=None))
        torch.testing.assert_close(answers[1], student.eval()(**batch(seed=1)).logits)
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_layers_of_transformers_have_their_own_names(tmp_path):
    student, teacher = classifiers(tmp_path)
    layers = {"student": "bert.encoder.layer.1", "teacher": "bert.encoder.layer.3", "weight": 1}
    module = distill.Distiller(student, teacher, ["kd", "hidden"], terms={"hidden": layers}, example=batch())
    assert module.criterion.student_layers["hidden"] == ["model.bert.encoder.layer.1"]
    assert module.criterion.teacher_layers["hidden"] == ["model.bert.encoder.layer.3"]
    with pytest.raises(distill.UserError, match=r"has no layer 'bert\.encoder\.layer\.9': did you mean [^?]*\?$"):
        layers["student"] = "bert.encoder.layer.9"
        distill.Distiller(student, teacher, ["kd", "hidden"], terms={"hidden": layers}, example=batch())


def test_the_student_is_saved_as_it_was_given(tmp_path):
    transformers = pytest.importorskip("transformers")
    student, teacher = classifiers(tmp_path)
    module = distill.Distiller(student, teacher, example=batch())
    module.student.model.save_pretrained(tmp_path / "saved")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in student.state_dict().items())
    assert {name.partition(".")[0] for name in module.student.state_dict()} == {"model"}


@pytest.mark.parametrize(
    ("head", "settings", "message"),
    [
        ("", {}, "the student, a BertModel, has no head: distill.Distiller takes models that classify texts"),
        ("TokenClassification", {}, "the student is a BertForTokenClassification: .* task=tokens"),
        ("MaskedLM", {}, "the student is a BertForMaskedLM"),
        ("SequenceClassification", {"num_labels": 1}, "the student has one output, a number: .* task=regression"),
    ],
)
def test_models_of_transformers_that_do_not_classify(tmp_path, head, settings, message):
    transformers = pytest.importorskip("transformers")
    auto = getattr(transformers, f"AutoModelFor{head}") if head else transformers.AutoModel
    student = auto.from_pretrained(save_model(tmp_path / "student", head=head, **settings))
    with pytest.raises(distill.UserError, match=message):
        distill.Distiller(student, classifiers(tmp_path)[1])
