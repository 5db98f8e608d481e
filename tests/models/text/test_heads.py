"""The head of the weights is kept where it answers the data's question, in the data's order, and is new otherwise."""

import logging

import pytest
import torch

pytest.importorskip("transformers")

from transformers import AutoModelForSequenceClassification

from distill.models import hf_model
from distill.utils.errors import UserError
from text_models import batch, save_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("heads")
    names = {"id2label": {0: "Neg", 1: "Neutral", 2: "Pos"}, "label2id": {"Neg": 0, "Neutral": 1, "Pos": 2}}
    for kind in ("bert", "roberta"):
        save_model(root / f"{kind}-named", kind, "SequenceClassification", **names)
        save_model(root / f"{kind}-unnamed", kind, "SequenceClassification", num_labels=3)
    save_model(root / "tokens", "bert", "TokenClassification", num_labels=3)
    save_model(root / "questions", "bert", "QuestionAnswering")
    save_model(root / "masked", "bert", "MaskedLM")
    save_model(root / "one", "bert", "SequenceClassification", num_labels=1)
    return root


def logits(model):
    with torch.no_grad():
        return model.eval()(batch())


def original(folder):
    with torch.no_grad():
        return AutoModelForSequenceClassification.from_pretrained(folder).eval()(**batch()).logits


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize(("names", "order"), [
    (["Neg", "Neutral", "Pos"], [0, 1, 2]),
    (["Pos", "Neg", "Neutral"], [2, 0, 1]),
    (["pos", "NEG", "neutral"], [2, 0, 1]),
    (["0", "1", "2"], [0, 1, 2]),
    (None, [0, 1, 2]),
])  # fmt: skip
def test_rows_are_in_the_order_of_the_data(folders, kind, names, order):
    folder = folders / f"{kind}-named"
    model = hf_model(str(folder), 3, class_names=names)
    torch.testing.assert_close(logits(model), original(folder)[:, order])
    assert model.config.id2label == dict(enumerate(names or ["Neg", "Neutral", "Pos"]))


def test_a_head_without_names_is_kept_by_position(folders):
    model = hf_model(str(folders / "bert-unnamed"), 3, class_names=["x", "y", "z"])
    torch.testing.assert_close(logits(model), original(folders / "bert-unnamed"))


def test_the_head_of_a_regression_is_kept(folders):
    torch.testing.assert_close(logits(hf_model(str(folders / "one"), 1)), original(folders / "one"))


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("names", [["good", "bad", "ugly"], ["Neg", "Neutral", "Pos", "None"], ["Neg", "Neg", "Pos"]])
def test_another_question_gets_a_new_head(folders, kind, names, caplog):
    folder = folders / f"{kind}-named"
    caplog.set_level(logging.INFO)
    model = hf_model(str(folder), len(names), class_names=names)
    head = model.get_submodule(model.head_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
    own = model.model.state_dict()
    key = f"{model.head_path.removeprefix('model.')}.weight"
    assert own[key].shape[0] == len(names)
    assert not torch.equal(own[key][:3], theirs[key])
    assert head.weight.std() < 0.05  # theirs: 0.2
    assert not head.bias.any()
    assert all(torch.equal(own[name], theirs[name]) for name in own if not name.startswith(key.removesuffix("weight")))
    assert model.note == f"{len(names)} outputs, a new head (its own has 3: Neg, Neutral, Pos)"
    assert not caplog.records


def test_an_encoder_gets_a_new_head(folders, caplog):
    caplog.set_level(logging.INFO)
    model = hf_model(str(folders / "masked"), 2)
    assert logits(model).shape == (3, 2)
    assert model.note == "2 outputs, a new head"
    assert not caplog.records


@pytest.mark.parametrize(("folder", "output", "message"), [
    ("tokens", "text", "is a BertForTokenClassification, whose head is of another task than one answer per text"),
    ("questions", "text", "questions is a BertForQuestionAnswering, whose head is of another task"),
    ("bert-named", "tokens", "whose head is of another task than one answer per word: .*BertForTokenClassification"),
])  # fmt: skip
def test_the_head_of_another_task_is_refused(folders, folder, output, message):
    with pytest.raises(UserError, match=message):
        hf_model(str(folders / folder), 3, output)
    assert logits(hf_model(str(folders / folder), 3, output, pretrained=False)).shape[-1] == 3


def test_an_embedding_leaves_a_head_out(folders, caplog):
    caplog.set_level(logging.INFO)
    model = hf_model(str(folders / "bert-named"), 3, "embedding")
    assert logits(model).shape == (3, 32)
    assert model.note == "the head of its BertForSequenceClassification is left out"
    assert not caplog.records


def test_the_same_seed_draws_the_same_head(folders):
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(hf_model(str(folders / "masked"), 2))
    assert torch.equal(logits(models[0]), logits(models[1]))
