"""A language model's distributions, kept sparsely: what drawn tokens estimate, what they take, what a run reads."""

import pytest
import torch
from torch import nn

from distill.config.schema import CacheConfig
from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache.store import Store
from distill.distillation.teacher_cache.token_codecs import Largest, Sampled
from distill.distillation.teacher_cache.token_plan import check_room, token_codec
from distill.distillation.teacher_cache.token_teacher import CachedTokenTeacher
from distill.distillation.terms import Term
from distill.losses import KD, TVD, ReverseKL, SkewKL
from distill.losses.sampled import sampled_loss
from distill.models import llama_model
from distill.tasks.causal_lm import CausalLM
from distill.utils.errors import UserError

STUDENT, TEACHER = (2 * torch.randn(6, 40, generator=torch.Generator().manual_seed(i)) for i in (0, 1))


@pytest.mark.parametrize("loss", [KD(T=1.0), KD(T=2.0), SkewKL(0.1), TVD()], ids=str)
def test_the_mean_of_the_estimate_is_the_whole_loss_and_so_is_its_gradients(loss):
    draws = 3000
    rows, student = TEACHER.repeat(draws, 1), STUDENT.clone().requires_grad_()
    codec = Sampled(40, 12, loss.T)
    samples = codec(codec.codes(codec.encode(rows, 0)))
    estimate = sampled_loss(loss, student.repeat(draws, 1), samples)
    whole = loss(student, TEACHER)
    (gradient,), (expected,) = torch.autograd.grad(estimate, student), torch.autograd.grad(whole, student)
    assert float(estimate.detach()) == pytest.approx(float(whole.detach()), rel=0.02)
    assert float((gradient - expected).norm() / expected.norm()) < 0.04


def test_a_million_tokens_take_62_megabytes_and_two_bytes_hold_an_id():
    assert Sampled(49_152, 12).bytes == 62
    codec = Sampled(65_536, 3)
    logits = torch.full((1, 65_536), -30.0)
    logits[0, [7, 65_535]] = 5.0
    rows = codec.encode(logits, 0)
    assert sum(each.element_size() * each.shape[-1] for each in rows.values()) == codec.bytes
    found = codec(codec.codes(rows))
    assert set(found.ids[found.counts > 0].tolist()) <= {7, 65_535}
    assert int(found.counts.sum()) == 3


def test_the_same_rows_draw_the_same_tokens():
    codec = Sampled(40, 5)
    one, again, other = codec.encode(TEACHER, 3), codec.encode(TEACHER, 3), codec.encode(TEACHER, 4)
    assert torch.equal(one["ids"], again["ids"])
    assert not torch.equal(one["ids"], other["ids"])


def test_the_largest_logits_keep_their_probabilities_and_the_mass_of_the_others():
    codec = Largest(40, 4)
    p, q = codec(codec.codes(codec.encode(TEACHER, 0))).softmax(1), TEACHER.softmax(1)
    at = TEACHER.topk(4, dim=1).indices
    assert torch.allclose(p.gather(1, at), q.gather(1, at), rtol=5e-3)
    assert torch.allclose(p.sum(1), torch.ones(6))


@pytest.fixture
def built():
    """A cached teacher of a tiny Llama over four rows, and a batch of two of them."""
    torch.manual_seed(0)
    model = llama_model(layers=1, width=16, heads=2, vocab_size=40, initializer_range=0.5)
    ids = torch.randint(0, 40, (4, 8))
    target = torch.cat([ids[:, 1:], torch.full((4, 1), -100)], 1)
    target[:, 2] = -100
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": torch.arange(8).expand(4, 8)}
    return model, [
        Batch({name: each[rows] for name, each in inputs.items()}, target[rows], torch.arange(4)[rows])
        for rows in (slice(0, 2), slice(2, 4))
    ]


def cached(folder, model, codec):
    store = Store(folder, {"codec": repr(codec)})
    return CachedTokenTeacher(Teacher(model), store, codec, {"train": torch.arange(4)}, 8)


def test_what_was_written_is_read_without_the_model(tmp_path, built, monkeypatch):
    model, batches = built
    codec = Sampled(40, 12)
    first = cached(tmp_path, model, codec)
    answers = [first(batch) for batch in batches]
    first.flush()

    second = cached(tmp_path, model, codec)
    again = [second(batch) for batch in batches]
    assert all(torch.equal(one.logits, other.logits) for one, other in zip(answers, again, strict=True))
    assert second.drift < 1e-3
    assert second.live_teachers() == []
    monkeypatch.setattr(second.live, "model", None)
    assert torch.equal(second(batches[1]).logits, answers[1].logits)

    task, student = CausalLM(0), llama_model(layers=1, width=8, heads=2, vocab_size=40)
    term = Term("kd", KD(T=1.0))
    criterion = Criterion(0.5, [term], task=task)
    criterion.losses["kd"] = nn.ModuleList([term.loss])
    from distill.models.outputs import Outputs

    outputs = Outputs(student(batches[0].inputs), {}, None, head=student.output_layer)
    losses = criterion(outputs, again[0], batches[0])
    losses.total.backward()
    samples = codec(again[0].logits[batches[0].target != -100])
    logits = student.output_layer(outputs.logits)[batches[0].target != -100]
    assert float(losses.parts["kd"]) == pytest.approx(
        float(sampled_loss(KD(T=1.0), logits, samples).detach()), rel=1e-5
    )


def test_a_cache_of_another_teacher_is_built_again(tmp_path, built):
    model, batches = built
    first = cached(tmp_path, model, Sampled(40, 12))
    for batch in batches:
        first(batch)
    first.flush()
    with torch.no_grad():
        model.output_layer.weight.mul_(1.5)
    second = cached(tmp_path, model, Sampled(40, 12))
    second(batches[0])
    assert second.drift > 0.05
    assert not second._cached["train"].complete


@pytest.mark.parametrize(
    ("options", "loss", "message"),
    [
        ({"sampled": 12, "top_k": 4}, KD(), "two ways"),
        ({"sampled": 300}, KD(), "at most 255"),
        ({"sampled": 12}, ReverseKL(), "term 'soft' cannot be estimated"),
        ({"sampled": 12}, SkewKL(reverse=True), "term 'soft' cannot be estimated"),
        ({"top_k": 40}, KD(), "cache.top_k=40 must be below the number of tokens, 40"),
    ],
)
def test_what_cannot_be_kept_is_refused(options, loss, message):
    criterion = Criterion(0.5, [Term("soft", loss)], task=CausalLM(0))
    criterion.losses["soft"] = nn.ModuleList([loss])
    with pytest.raises(UserError, match=message):
        token_codec(CacheConfig(**options), criterion, 40, 0)


def test_a_row_of_which_nothing_was_kept_is_another_teachers():
    codec = Sampled(40, 12)
    logits = torch.randn(3, 40)
    codes = codec.codes(codec.encode(logits, 0))
    assert codec.difference(logits, codes) < 1e-2
    codes[1] = 0
    assert codec.difference(logits, codes) == float("inf")


def test_drawn_at_another_temperature_than_1_there_is_no_kl_to_choose_by():
    criterion = Criterion(0.5, [Term("soft", KD(T=4.0))], task=CausalLM(0, score="kl"))
    criterion.losses["soft"] = nn.ModuleList([criterion.terms[0].loss])
    with pytest.raises(UserError, match="task.score=kl is measured at T=1, and .* at T=4: set kd.T=1"):
        token_codec(CacheConfig(sampled=12), criterion, 40, 0)
    criterion.task = CausalLM(0)
    assert token_codec(CacheConfig(sampled=12), criterion, 40, 0).T == 4


def test_a_disk_without_room_is_said_before(tmp_path):
    with pytest.raises(UserError, match=r"the teacher cache takes 1e\+09 GB"):
        check_room(tmp_path / "not" / "there", 10**18)
