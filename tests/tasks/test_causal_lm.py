"""Language modelling: losses and metrics from hidden states are those of whole logits; what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.term_builder import check_term
from distill.distillation.terms import Term
from distill.losses import CRD, DIST, JSD, KD, TVD, ReverseKL, SkewKL
from distill.losses.sampled import TokenSamples
from distill.models.outputs import Outputs
from distill.tasks.causal_lm import CausalLM
from distill.utils.errors import UserError

VOCABULARY = 23
TARGET = torch.randint(0, VOCABULARY, (3, 120), generator=torch.Generator().manual_seed(0)).index_fill(
    1, torch.tensor([0, 7, 8, 119]), -100
)
VALID = TARGET != -100


def outputs(seed, width, grad=False):
    torch.manual_seed(seed)
    return Outputs(torch.randn(3, 120, width, requires_grad=grad), {}, None, head=nn.Linear(width, VOCABULARY))


@pytest.fixture
def task():
    return CausalLM(0)


@pytest.mark.parametrize(
    "loss",
    [KD(T=2.0), ReverseKL(), JSD(), SkewKL(0.1), SkewKL(0.1, reverse=True), TVD()],
    ids=lambda x: type(x).__name__,
)
def test_the_losses_of_tokens_are_those_of_whole_logits(task, loss):
    student, teacher = outputs(0, 8, grad=True), outputs(1, 12)
    criterion = Criterion(0.3, [Term("soft", loss, 2.0)], task=task)
    criterion.losses["soft"] = nn.ModuleList([loss])
    batch = Batch({}, TARGET, torch.arange(3))
    found = criterion(student, teacher, batch)
    found.total.backward()
    gradients = [student.logits.grad.clone(), student.head.weight.grad.clone(), student.head.bias.grad.clone()]
    student.logits.grad, student.head.weight.grad, student.head.bias.grad = None, None, None

    mine, theirs = student.head(student.logits)[VALID], teacher.head(teacher.logits)[VALID].detach()
    hard, soft = F.cross_entropy(mine, TARGET[VALID]), loss(mine, theirs)
    (0.3 * hard + 0.7 * 2.0 * soft).backward()
    hard, soft = hard.detach(), soft.detach()
    assert float(found.parts["hard"]) == pytest.approx(float(hard), rel=1e-5)
    assert float(found.parts["soft"]) == pytest.approx(float(soft), rel=1e-5)
    assert float(found.total.detach()) == pytest.approx(float(0.3 * hard + 1.4 * soft), rel=1e-5)
    for gradient, expected in zip(
        gradients, (student.logits.grad, student.head.weight.grad, student.head.bias.grad), strict=True
    ):
        assert torch.allclose(gradient, expected, rtol=1e-5, atol=1e-7)


def test_perplexity_kl_and_agreement_are_those_of_whole_logits(task):
    student, teacher = outputs(0, 8), outputs(1, 12)
    metrics = task.metrics(with_agreement=True).eval()
    for rows in (slice(0, 1), slice(1, 3)):
        mine, theirs = (each._replace(logits=each.logits[rows]) for each in (student, teacher))
        metrics.update(mine, theirs, TARGET[rows])
    found = {name: float(value) for name, value in metrics.compute().items()}
    with torch.no_grad():
        mine, theirs = student.head(student.logits)[VALID], teacher.head(teacher.logits)[VALID]
    kl = F.kl_div(mine.log_softmax(1), theirs.log_softmax(1), log_target=True, reduction="batchmean")
    agreement = (mine.argmax(1) == theirs.argmax(1)).float().mean()
    perplexity = math.exp(float(F.cross_entropy(mine, TARGET[VALID])))
    expected = {"perplexity": perplexity, "kl": float(kl), "agreement": float(agreement)}
    assert found == pytest.approx(expected, rel=1e-5)
    assert metrics.compute() == {}


def test_of_tokens_drawn_at_another_temperature_there_is_agreement_and_no_kl(task):
    def drawn(rows):
        ids = torch.zeros(len(rows), 1, dtype=torch.int64)
        return TokenSamples(ids, ids + 1, ids.float(), ids[:, 0], T=4.0)

    metrics = task.metrics(with_agreement=True).eval()
    metrics.update(outputs(0, 8), outputs(1, 12)._replace(head=drawn), TARGET)
    assert set(metrics.compute()) == {"perplexity", "agreement"}


def test_a_diverged_model_has_a_perplexity_of_inf_and_a_kl_of_nan(task):
    wild = outputs(0, 8)
    with torch.no_grad():
        wild.head.weight.mul_(1e6)
    metrics = task.metrics(with_agreement=True).eval()
    metrics.update(wild, outputs(1, 12), TARGET)
    assert float(metrics.compute()["perplexity"]) == math.inf
    assert task.measure(task.recorded(wild, TARGET), TARGET)["perplexity"] == math.inf
    broken = wild._replace(logits=wild.logits * float("nan"))
    metrics.update(broken, outputs(1, 12), TARGET)
    values = metrics.compute()
    assert all(math.isnan(values[name]) for name in ("perplexity", "kl"))


def test_a_batch_counts_as_many_tokens_as_are_learnt(task):
    assert task.weight(TARGET) == 3 * 116
    assert task.score.direction == "min"


@pytest.mark.parametrize("loss", [DIST(), CRD()], ids=["dist", "crd"])
def test_terms_that_compare_rows_or_texts_are_refused(task, loss):
    with pytest.raises(UserError, match="cannot be used with task=causal_lm"):
        check_term(Term("term", loss), task)
