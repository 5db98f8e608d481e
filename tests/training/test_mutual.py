"""Students that teach each other."""

import torch
import torch.nn.functional as F

from distill.config.schedules import Schedule
from distill.data import Batch
from distill.distillation.criterion import Criterion
from distill.distillation.inspection import inspect_model
from distill.distillation.terms import Term
from distill.losses import KD, FitNet
from distill.models import resnet8, resnet14
from distill.tasks.classification import Classification
from distill.training.mutual import MutualDistillationModule

X = torch.randn(6, 3, 16, 16)
BATCH = Batch(X, torch.arange(6), torch.arange(6))


def made(*nets, terms):
    seen = [inspect_model(net, X, "a student") for net in nets]
    rows = []
    for i, student in enumerate(seen):
        row = []
        for j, other in enumerate(seen):
            if i != j:
                criterion = Criterion(None, terms())
                criterion.build(student, other, 6)
                row.append(criterion)
        rows.append(row)
    return MutualDistillationModule(
        nets, rows, [None] * len(nets), task=Classification(10), optimizer=lambda p: torch.optim.SGD(p, 0.1)
    )


def kl(p, q):
    return (p.softmax(1) * (p.log_softmax(1) - q.log_softmax(1))).sum(1).mean()


def test_three_students_have_the_papers_loss():
    torch.manual_seed(0)
    nets = [resnet8(10).eval(), resnet14(10).eval(), resnet8(10).eval()]
    module = made(*nets, terms=lambda: [Term("kd", KD(1.0))])
    student, teacher, losses = module.compute(BATCH, "train")
    z = [net(X) for net in nets]
    expected = sum(
        F.cross_entropy(z[i], BATCH.target) + torch.stack([kl(z[j], z[i]) for j in range(3) if j != i]).mean()
        for i in range(3)
    )
    torch.testing.assert_close(losses.total, expected)
    torch.testing.assert_close(student.logits, z[0])
    torch.testing.assert_close(teacher.logits, z[1])
    assert set(losses.parts) == {"hard", "kd", "peer_1_hard", "peer_1_kd", "peer_2_hard", "peer_2_kd"}
    torch.testing.assert_close(losses.parts["peer_1_kd"], (kl(z[0], z[1]) + kl(z[2], z[1])) / 2)


def test_a_student_takes_no_gradient_from_teaching():
    torch.manual_seed(0)
    nets = [resnet8(10).eval(), resnet14(10).eval()]
    module = made(*nets, terms=lambda: [Term("kd", KD(1.0))])
    module.compute(BATCH, "train").losses.total.backward()
    found = nets[0].fc.weight.grad.clone()
    nets[0].zero_grad()
    z = nets[0](X)
    (F.cross_entropy(z, BATCH.target) + kl(nets[1](X).detach(), z)).backward()
    torch.testing.assert_close(found, nets[0].fc.weight.grad)


def test_feature_terms_between_students():
    nets = [resnet8(10).eval(), resnet14(10).eval()]
    module = made(*nets, terms=lambda: [Term("fitnet", FitNet(), student=2, teacher=3)])
    parts = module.compute(BATCH, "train").losses.parts
    assert parts["fitnet"] > 0
    assert parts["peer_1_fitnet"] > 0
    adapters = [criterion.losses["fitnet"][0].adapter[0].weight for row in module.criteria for criterion in row]
    own = {id(p) for p in module.parameters()}
    assert adapters[0] is not adapters[1]
    assert all(id(weight) in own for weight in adapters)


def test_an_epoch_sets_the_schedules_of_every_lesson():
    nets = [resnet8(10), resnet14(10), resnet8(10)]
    module = made(*nets, terms=lambda: [Term("kd", KD(8.0), schedules={"T": Schedule("linear", 8.0, 2.0)})])
    stages = [criterion for row in module.criteria for criterion in row]
    assert len(stages) == 6
    for epoch, T in ((0, 8.0), (1, 5.0), (2, 2.0)):
        module.start_epoch(epoch, 3)
        assert [criterion.losses["kd"][0].T for criterion in stages] == [T] * 6


def test_one_step_changes_every_student():
    torch.manual_seed(0)
    nets = [resnet8(10), resnet14(10)]
    module = made(*nets, terms=lambda: [Term("kd", KD(1.0))])
    before = [net.fc.weight.detach().clone() for net in nets]
    optimizer = module.configure_optimizers()
    module.compute(BATCH, "train").losses.total.backward()
    optimizer.step()
    assert all(not torch.equal(b, net.fc.weight) for b, net in zip(before, nets, strict=True))
    assert set(module.metrics["train_"].counts) == {"acc", "top5", "agreement"}
