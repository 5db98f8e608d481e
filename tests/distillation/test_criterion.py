import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.inspection import inspect_model
from distill.distillation.terms import Pretraining, Term
from distill.losses import CRD, KD, RKD, FitNet, kd_loss
from distill.models import resnet8, resnet14
from distill.utils.errors import UserError

N, C = 6, 10


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    student, teacher, x = resnet8(C), resnet14(C), torch.randn(N, 3, 16, 16)
    return student, teacher, x, inspect_model(student, x, "the student"), inspect_model(teacher, x, "the teacher")


def outputs(criterion, nets):
    student, teacher, x, s, t = nets
    criterion.build(s, t, num_samples=100)
    batch = Batch(x, torch.arange(N) % C, torch.arange(N))
    return (
        FeatureExtractor(student.eval(), criterion.extracted_layers("student"), s.head)(x),
        FeatureExtractor(teacher.eval(), criterion.extracted_layers("teacher"), t.head)(x),
        batch,
    )


def test_alpha_weighs_the_hard_loss(nets):
    criterion = Criterion(0.3, [Term("kd", KD(2.0), weight=5.0)], label_smoothing=0.1)
    s, t, batch = outputs(criterion, nets)
    total, parts = criterion(s, t, batch)
    hard = F.cross_entropy(s.logits, batch.target, label_smoothing=0.1)
    is_soft_target = kd_loss(s.logits, t.logits, 2.0)
    torch.testing.assert_close(parts["hard"], hard)
    torch.testing.assert_close(parts["kd"], is_soft_target)
    torch.testing.assert_close(total, 0.3 * hard + 0.7 * 5.0 * is_soft_target)


def test_feature_and_relation_terms_are_added_whatever_alpha_is(nets):
    terms = [
        Term("kd", KD()),
        Term("fitnet", FitNet(), weight=3.0, student=2, teacher="layer2"),
        Term("rkd", RKD(), weight=0.5),
    ]
    criterion = Criterion(0.1, terms)
    s, t, batch = outputs(criterion, nets)
    total, parts = criterion(s, t, batch)
    torch.testing.assert_close(
        total, 0.1 * parts["hard"] + 0.9 * parts["kd"] + 3.0 * parts["fitnet"] + 0.5 * parts["rkd"]
    )
    assert (criterion.extracted_layers("student"), criterion.extracted_layers("teacher")) == (["layer2"], ["layer2"])
    adapters = [name for name, _ in criterion.named_parameters()]
    assert adapters
    assert all(name.startswith("losses.fitnet.0.adapter") for name in adapters)


def test_several_pairs_are_a_sum_with_an_adapter_each(nets):
    criterion = Criterion(1.0, [Term("fitnet", FitNet(), student=[1, 3], teacher=[1, -1])])
    s, t, batch = outputs(criterion, nets)
    first, second = criterion.losses["fitnet"]
    expected = first(s.features["layer1"], t.features["layer1"]) + second(s.features["layer3"], t.features["layer3"])
    torch.testing.assert_close(criterion(s, t, batch).parts["fitnet"], expected)
    assert first.adapter is not second.adapter


def test_no_terms_is_the_hard_loss_alone(nets):
    criterion = Criterion(0.1)
    s, _, batch = outputs(criterion, nets)
    total, parts = criterion(s, None, batch)
    torch.testing.assert_close(total, F.cross_entropy(s.logits, batch.target))
    assert list(parts) == ["hard"]


def test_a_plain_function_and_lists_of_features(nets):
    def spread(student_features, teacher_features, target, index):
        assert len(student_features) == len(teacher_features) == 2
        assert target.shape == index.shape == (N,)
        return sum(a.mean() for a in student_features)

    criterion = Criterion(1.0, [Term("mine", spread, student=[1, 2], teacher=[1, 2])])
    s, t, batch = outputs(criterion, nets)
    expected = s.features["layer1"].mean() + s.features["layer2"].mean()
    torch.testing.assert_close(criterion(s, t, batch).parts["mine"], expected)


def test_build_gets_the_shapes(nets):
    seen = {}

    class Bank(nn.Module):
        def build(self, student_embedding, teacher_logits, num_samples, num_classes):
            seen.update(locals())

        def forward(self, student_embedding, teacher_embedding):
            return student_embedding.sum()

    criterion = Criterion(1.0, [Term("bank", Bank())])
    outputs(criterion, nets)
    assert seen["student_embedding"] == (N, 64)
    assert (seen["teacher_logits"], seen["num_samples"], seen["num_classes"]) == ((N, C), 100, C)


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_out_of_range(alpha):
    with pytest.raises(UserError, match=rf"kd.alpha must lie in \[0, 1\] .*, got {alpha}"):
        Criterion(alpha)


def test_bad_terms(nets):
    _, _, _, s, t = nets
    with pytest.raises(UserError, match=r"kd.terms.kd.weight must be a finite number of at least 0, got -1"):
        Term("kd", KD(), weight=-1)
    with pytest.raises(
        UserError, match="its loss reads 'studnt_logits', which is unknown; did you mean 'student_logits'"
    ):
        Term("mine", lambda studnt_logits: studnt_logits.sum())
    for name in ("hard", "keys", "a.b"):
        with pytest.raises(UserError, match=f"'{name}' cannot name a term"):
            Term(name, KD())
    with pytest.raises(UserError, match=r"as many student layers as teacher layers.*student=\[1, 2\] and .teacher=1"):
        Criterion(1.0, [Term("f", FitNet(), student=[1, 2], teacher=1)]).build(s, t, 1)
    with pytest.raises(UserError, match="as many student layers .* got kd.terms.f.student=1 and .teacher=None"):
        Criterion(1.0, [Term("f", FitNet(), student=1)]).build(s, t, 1)
    with pytest.raises(UserError, match=r"term 'f': features of shape \(6, 16, 16, 16\) .* \(6, 10\)"):
        Criterion(1.0, [Term("f", FitNet(), student=1, teacher="fc")]).build(s, t, 1)
    with pytest.raises(UserError, match="term 'kd' needs a teacher"):
        Criterion(0.5, [Term("kd", KD())]).build(s, None, 1)


def test_alpha_none_is_the_plain_sum(nets):
    criterion = Criterion(None, [Term("kd", KD(), weight=2.0), Term("rkd", RKD(), weight=0.5)])
    total, parts = criterion(*outputs(criterion, nets))
    torch.testing.assert_close(total, parts["hard"] + 2.0 * parts["kd"] + 0.5 * parts["rkd"])


def test_a_logit_loss_without_teacher_is_soft_and_needs_none(nets):
    class RegularizedLogits(nn.Module):
        is_soft_target = True

        def forward(self, student_logits, target):
            return student_logits.square().mean()

    student, _, x, s, _ = nets
    criterion = Criterion(0.3, [Term("regularized", RegularizedLogits(), weight=2.0)])
    criterion.build(s, None, None)
    assert not criterion.needs_teacher
    batch = Batch(x, torch.arange(N) % C, torch.arange(N))
    total, parts = criterion(FeatureExtractor(student.eval())(x), None, batch)
    torch.testing.assert_close(total, 0.3 * parts["hard"] + 0.7 * 2.0 * parts["regularized"])


def test_standardised_logits(nets):
    criterion = Criterion(0.0, [Term("kd", KD(2.0), standardize=True), Term("rkd", RKD(), standardize=True)])
    s, t, batch = outputs(criterion, nets)
    parts = criterion(s, t, batch).parts

    def z(x):
        return (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)

    torch.testing.assert_close(parts["kd"], kd_loss(z(s.logits), z(t.logits), 2.0))
    torch.testing.assert_close(parts["rkd"], RKD()(s.embedding, t.embedding))


class TwoPhases(nn.Module):
    """Its pretraining reads the teacher alone."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.done = False

    def pretraining_loss(self, teacher_embedding):
        return (self.scale * teacher_embedding).square().mean()

    def forward(self, student_embedding, teacher_embedding):
        return (student_embedding - self.scale * teacher_embedding).square().mean()

    def after_pretraining(self):
        self.done = True
        self.scale.requires_grad_(False)


def test_pretraining_is_one_terms_loss_alone(nets):
    criterion = Criterion(0.5, [Term("two", TwoPhases(), pretraining=Pretraining(1, weight=3.0)), Term("kd", KD())])
    s, t, batch = outputs(criterion, nets)
    criterion.set_pretraining("two")
    assert not criterion.teaches_student
    assert criterion.asks_teacher
    total, parts = criterion(s, t, batch)
    torch.testing.assert_close(total, 3.0 * t.embedding.square().mean())
    assert set(parts) == {"hard", "two"}
    assert not criterion.losses["two"][0].done
    criterion.set_pretraining(None)
    assert criterion.losses["two"][0].done
    assert criterion.teaches_student
    total, parts = criterion(s, t, batch)
    expected = (s.embedding - t.embedding).square().mean()
    torch.testing.assert_close(total, 0.5 * parts["hard"] + 0.5 * parts["kd"] + expected)


def test_an_inactive_term_is_not_computed_in_the_main_phase(nets):
    def fails(student_logits, teacher_embedding):
        raise AssertionError

    criterion = Criterion(None, [Term("inactive", fails, weight=0.0, pretraining=Pretraining(1))])
    s, t, batch = outputs(criterion, nets)
    assert list(criterion(s, t, batch).parts) == ["hard"]
    assert not criterion.asks_teacher
    assert criterion.needs_teacher


def test_calibration_passes_the_norms_before_the_activations(nets):
    seen = []

    class Shown(nn.Module):
        def calibrate(self, norms):
            seen.extend(norms)

        def forward(self, student_features, teacher_preactivations):
            return student_features[0].sum()

    _, teacher, _, s, t = nets
    criterion = Criterion(1.0, [Term("shown", Shown())])
    criterion.build(s, t, None)
    assert criterion.student_layers["shown"] == ["layer1", "layer2", "layer3"]
    assert criterion.teacher_layers["shown"] == [f"layer{i}.1.relu:input" for i in (1, 2, 3)]
    criterion.calibrate(teacher, t)
    for (beta, gamma), stage in zip(seen, (teacher.layer1, teacher.layer2, teacher.layer3), strict=True):
        assert torch.equal(beta, stage[1].bn2.bias)
        assert torch.equal(gamma, stage[1].bn2.weight)


def test_indices_become_rows_of_the_training_set(nets):
    """A memory bank has a row per training sample, whatever the indices are; other splits keep their own."""
    seen = []

    class Bank(nn.Module):
        def build(self, num_samples):
            self.rows = num_samples

        def forward(self, student_logits, teacher_logits, index):
            seen.append(index.tolist())
            return student_logits.sum()

    s, t, batch = nets[3], nets[4], torch.tensor([70, 7, 12, 40, 5, 99])
    criterion = Criterion(0.5, [Term("bank", Bank())])
    criterion.build(s, t, 6, indices=torch.tensor([5, 7, 12, 40, 70, 99]))
    assert criterion.losses["bank"][0].rows == 6
    student, teacher, x = nets[:3]
    inputs = (
        FeatureExtractor(student.eval())(x),
        FeatureExtractor(teacher.eval())(x),
        Batch(x, torch.arange(N) % C, batch),
    )
    criterion(*inputs)
    criterion.eval()(*inputs)
    assert seen == [[4, 1, 2, 3, 0, 5], batch.tolist()]
    assert "row_of_index" not in "".join(criterion.state_dict())


def test_arguments_that_shape_what_is_learnt_follow_no_schedule(nets):
    from distill.config.schedules import Schedule

    term = Term("crd", CRD(), schedules={"dim": Schedule("linear", 64, 128)})
    with pytest.raises(UserError, match=r"kd.terms.crd.loss.dim cannot follow a schedule: it is set once"):
        Criterion(None, [term]).build(nets[3], nets[4], 100)
