"""Student and teacher in one LightningModule: who learns, and who must not."""

import lightning.pytorch as L
import pytest
import torch
from torch import nn

from distill.data import Batch, ImageDataModule
from distill.data.sources import digits
from distill.distillation.criterion import Criterion
from distill.distillation.inspection import inspect_model
from distill.distillation.teacher import Teacher
from distill.distillation.terms import Term
from distill.losses import KD, RKD, FitNet
from distill.models import resnet8, resnet14
from distill.tasks.classification import Classification
from distill.training.module import DistillationModule


class Dropping(nn.Module):
    """A teacher that answers differently in train mode."""

    def __init__(self):
        super().__init__()
        self.net = resnet14(10, in_channels=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.net(self.drop(x))


@pytest.fixture(scope="module")
def data():
    module = ImageDataModule.from_options(digits, batch_size=32, subset=100, augment={"crop_padding": 1})
    module.setup()
    return module


@pytest.fixture
def made(data):
    torch.manual_seed(0)
    student, net = resnet8(10, in_channels=1), Dropping()
    x = data.example(4)
    criterion = Criterion(
        0.1, [Term("kd", KD()), Term("fitnet", FitNet(), student=2, teacher="net.layer2"), Term("rkd", RKD())]
    )
    s, t = inspect_model(student, x, "the student"), inspect_model(net, x, "the teacher")
    criterion.build(s, t, data.num_train)
    teacher = Teacher(net, criterion.extracted_layers("teacher"), t.head)
    module = DistillationModule(
        student,
        criterion,
        Classification(10),
        teacher,
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=5e-4),
        head=s.head,
    )
    return module, teacher, net


def fit(module, data, tmp_path, **changes):
    settings = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    trainer = L.Trainer(
        **{**settings, **changes}, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path
    )
    trainer.fit(module, datamodule=data)
    return trainer


def test_the_teacher_is_bit_identical_after_fit(made, data, tmp_path):
    module, _, net = made
    before = {k: v.clone() for k, v in net.state_dict().items()}
    student_before = {k: v.clone() for k, v in module.student.state_dict().items()}
    fit(module, data, tmp_path)
    after = net.state_dict()
    assert any("running_mean" in k for k in after)
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    assert all(p.grad is None for p in net.parameters())
    changed = module.student.state_dict()
    assert all(not torch.equal(v, changed[k]) for k, v in student_before.items())


def test_the_teacher_is_outside_tree_optimizer_and_checkpoint(made, data, tmp_path):
    module, _, net = made
    trainer = fit(module, data, tmp_path)
    own = {id(p) for p in net.parameters()}
    assert not own & {id(p) for p in module.parameters()}
    assert not own & {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert all(m is not net for m in module.modules())
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    state = torch.load(tmp_path / "x.ckpt", weights_only=True)["state_dict"]
    weights = [key for key in state if not key.startswith("metrics")]
    assert all(key.startswith(("student.", "criterion.losses.fitnet.0.adapter.")) for key in weights)
    trained = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert {id(p) for p in module.criterion.parameters()} <= trained


def test_the_teacher_answers_in_eval_mode_whatever_is_called(made):
    module, teacher, net = made
    x, target = torch.randn(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64)
    expected = teacher(Batch(x, target, target)).logits
    module.train()
    net.train()
    torch.testing.assert_close(teacher(Batch(x, target, target)).logits, expected)
    net.drop.train()  # one part alone
    torch.testing.assert_close(teacher(Batch(x, target, target)).logits, expected)
    assert not net.training
    assert not expected.requires_grad


def test_the_student_learns_from_adapters_too(made, data, tmp_path):
    module, _, _ = made
    before = [p.clone() for p in module.criterion.parameters()]
    fit(module, data, tmp_path)
    assert before
    assert all(not torch.equal(a, b) for a, b in zip(before, module.criterion.parameters(), strict=True))


def test_teacher_and_student_see_the_very_same_tensor(made, data, tmp_path):
    module, _, net = made
    seen = {"student": [], "teacher": []}
    module.student.register_forward_pre_hook(lambda _m, args: seen["student"].append(args[0]))
    net.register_forward_pre_hook(lambda _m, args: seen["teacher"].append(args[0]))
    fit(module, data, tmp_path, limit_val_batches=0)
    assert len(seen["student"]) == len(seen["teacher"]) == len(data.train_dataloader())
    assert all(a is b for a, b in zip(seen["student"], seen["teacher"], strict=True))


def test_what_is_logged(made, data, tmp_path):
    module, _, _ = made
    seen = fit(module, data, tmp_path).callback_metrics
    for stage in ("train", "val"):
        for name in ("loss", "hard", "kd", "fitnet", "rkd", "acc", "top5", "agreement"):
            assert f"{stage}/{name}" in seen
    total = 0.1 * seen["val/hard"] + 0.9 * seen["val/kd"] + seen["val/fitnet"] + seen["val/rkd"]
    torch.testing.assert_close(seen["val/loss"], total)


def test_logged_accuracy_and_agreement_are_right(made, data, tmp_path):
    module, teacher, _ = made
    seen = fit(module, data, tmp_path).callback_metrics
    module.student.eval()
    batches = list(data.val_dataloader())
    with torch.no_grad():
        answers = torch.cat([module.student(b.inputs) for b in batches])
        theirs = torch.cat([teacher(b).logits for b in batches]).argmax(1)
    target = torch.cat([b.target for b in batches])
    assert seen["val/acc"].item() == pytest.approx((answers.argmax(1) == target).float().mean().item())
    assert seen["val/agreement"].item() == pytest.approx((answers.argmax(1) == theirs).float().mean().item())
    top5 = (answers.topk(5).indices == target[:, None]).any(1).float().mean().item()
    assert seen["val/top5"].item() == pytest.approx(top5)


def test_random_layers_draw_by_seed_and_step(data, tmp_path):
    def final(seed, noise):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
        torch.manual_seed(noise)  # what came before must not matter
        module = DistillationModule(
            student, Criterion(), Classification(10), optimizer=lambda p: torch.optim.SGD(p, 0.1), seed=seed
        )
        fit(module, data, tmp_path)
        return student[2].weight.detach().clone()

    assert torch.equal(final(0, 1), final(0, 2))
    assert not torch.equal(final(0, 1), final(1, 1))
