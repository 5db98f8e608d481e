"""Token classification: which positions count, what is measured, what is refused."""

import pytest
import torch
import torch.nn.functional as F

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.term_builder import check_term
from distill.distillation.terms import Term
from distill.losses import CRD, KD, RKD, HiddenStates
from distill.models.outputs import Outputs
from distill.tasks.tokens import TokenClassification
from distill.utils.errors import UserError

TAGS = ["O", "B-person", "I-person"]
TARGET = torch.tensor([[-100, 0, 1, 2, -100], [-100, 0, -100, -100, -100]])
LOGITS, OTHER = (torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


@pytest.fixture
def task():
    return TokenClassification(3, TAGS)


def test_the_loss_is_the_mean_over_words(task):
    words = [LOGITS[i, j].log_softmax(0)[TARGET[i, j]] for i, j in ((0, 1), (0, 2), (0, 3), (1, 1))]
    assert float(task.supervised_loss(LOGITS, TARGET)) == pytest.approx(-float(sum(words)) / 4)
    assert float(task.supervised_loss(LOGITS, torch.full_like(TARGET, -100))) == 0


def test_a_longer_padding_changes_neither_loss_nor_rows(task):
    logits, target = F.pad(LOGITS, (0, 0, 0, 6), value=9.0), F.pad(TARGET, (0, 6), value=-100)
    assert torch.equal(task.supervised_loss(logits, target), task.supervised_loss(LOGITS, TARGET))
    assert torch.equal(task.rows(logits, target), task.rows(LOGITS, TARGET))
    assert task.row_targets(target).tolist() == [0, 1, 2, 0]


def test_logit_terms_see_the_words_alone(task):
    criterion = Criterion(0.5, [Term("kd", KD(T=2.0))], task=task)
    criterion.losses["kd"] = torch.nn.ModuleList([KD(T=2.0)])
    criterion.student_layers["kd"] = criterion.teacher_layers["kd"] = []
    batch = Batch({"attention_mask": torch.ones(2, 5)}, TARGET, torch.arange(2))
    losses = criterion(Outputs(LOGITS, {}, None), Outputs(OTHER, {}, None), batch)
    words = TARGET >= 0
    assert float(losses.parts["kd"]) == pytest.approx(float(KD(T=2.0)(LOGITS[words], OTHER[words])))


def test_metrics_count_entities_words_and_agreement(task):
    perfect = F.one_hot(TARGET.clamp(min=0), 3).float()
    metrics = task.metrics(with_agreement=True)
    metrics.update(Outputs(perfect, {}, None), Outputs(perfect.roll(1, -1), {}, None), TARGET)
    values = {name: float(value) for name, value in metrics.compute().items()}
    assert values == {"f1": 1.0, "acc": 1.0, "agreement": 0.0}
    none = perfect.clone()
    none[..., 0] = 5  # all O: two of four words right, no entity found
    metrics.update(Outputs(none, {}, None), None, TARGET)
    assert {name: float(value) for name, value in metrics.compute().items()} == {"f1": 0.0, "acc": 0.5}


def test_a_batch_counts_by_its_words(task):
    assert task.weight(TARGET) == 4


def test_tags_of_another_scheme_are_refused():
    with pytest.raises(UserError, match="task=tokens: tags must be O, or a type after B-, I-, E- or S-"):
        TokenClassification(3, ["O", "B-x", "L-x"])


def test_tags_without_entities_are_scored_by_words():
    with pytest.raises(UserError, match="task.score=f1 counts entities in BIO tags, and the tags are NOUN, VERB"):
        TokenClassification(2, ["NOUN", "VERB"])
    task = TokenClassification(2, ["NOUN", "VERB"], score="acc")
    assert [metric.name for metric in task.info.metrics] == ["acc", "agreement"]


@pytest.mark.parametrize(("loss", "why"), [(RKD(), "compares whole texts"), (CRD(), "compares whole texts")])
def test_terms_on_whole_texts_are_refused(task, loss, why):
    with pytest.raises(UserError, match=f"term 'x' cannot be used with task=tokens: it {why}"):
        check_term(Term("x", loss), task)
    check_term(Term("x", HiddenStates()), task)


def test_values_of_one_text_are_its_words(task):
    assert task.target_values(TARGET[0], TAGS) == {"tags": TAGS}
    assert len(task.predicted_values(LOGITS[1], TAGS, TARGET[1])["tags"]) == 1
    assert task.decode(LOGITS, TAGS)[0]["tags"] == [TAGS[i] for i in LOGITS[0].argmax(1).tolist()]


def test_a_teacher_that_finds_no_entities_is_said_to_be_weak(task):
    assert "finding hardly any entity (F1 0.00 %)" in task.weakness({"f1": 0.0, "acc": 0.95})
    assert task.weakness({"f1": 0.4, "acc": 0.95}) is None
    assert TokenClassification(2, ["NOUN", "VERB"], score="acc").weakness({"acc": 0.5}) is None
