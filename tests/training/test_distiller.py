"""Distillation in a script of one's own: models, loaders and trainers that know nothing of this package."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import distill
from quiet_trainer import WARNINGS, trainer

pytestmark = WARNINGS


class Net(nn.Module):
    def __init__(self, width, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.fc = nn.Linear(2 * width, classes)

    def forward(self, x):
        return self.fc(self.last(self.body(self.stem(x))).mean((2, 3)))


def pairs(n=96, classes=3):
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(n) % classes
    return TensorDataset(torch.randn(n, 1, 8, 8, generator=generator) + target.view(-1, 1, 1, 1), target)


def loader(**kwargs):
    return DataLoader(pairs(), batch_size=16, **kwargs)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("kd", ["kd", "dkd", "dist", "fitnet", "rkd", "reviewkd", "ofd", "crd_inbatch", ["dkd", "sp"]])
def test_a_plain_trainer_fits_it(kd):
    student, teacher = Net(4), Net(8)
    before = copy.deepcopy(teacher.state_dict())
    weight = student.fc.weight.clone()
    module = distill.Distiller(student, teacher, kd=kd)
    trainer().fit(module, loader())
    assert not torch.equal(student.fc.weight, weight)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(name.startswith("teacher") for name in module.state_dict())
    assert module.trainer.callback_metrics["train/loss"] > 0


def test_the_loss_is_the_formula():
    student, teacher, (inputs, target) = Net(4), Net(8).eval(), pairs()[:16]
    module = distill.Distiller(student, teacher, T=2.0, alpha=0.3, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    trainer(max_steps=1, max_epochs=-1, log_every_n_steps=1).fit(module, DataLoader(TensorDataset(inputs, target), 16))
    soft = F.kl_div(
        (module.student.train()(inputs) / 2).log_softmax(1), (teacher(inputs) / 2).softmax(1), reduction="batchmean"
    )
    expected = 0.3 * F.cross_entropy(student(inputs), target) + 0.7 * 4 * soft
    assert module.means["train"].last[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_plateau_is_looked_for_in_the_epochs_that_are_validated():
    module = distill.Distiller(
        Net(4),
        Net(8),
        optimizer=lambda p: torch.optim.SGD(p, lr=0.1),
        scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau,
    )
    trainer(max_epochs=3, check_val_every_n_epoch=2).fit(module, loader(), loader())
    assert module.trainer.lr_scheduler_configs[0].scheduler.last_epoch == 1


def test_its_own_optimizer_scheduler_validation_and_checkpoint(tmp_path):
    module = distill.Distiller(
        Net(4),
        Net(8),
        kd="fitnet",
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1),
        terms={"fitnet": {"weight": 5.0}},
        example=torch.zeros(2, 1, 8, 8),
    )
    assert "criterion.losses.fitnet.0.adapter.0.weight" in dict(module.named_parameters())  # trained along
    fit = trainer(max_epochs=3, enable_checkpointing=True, default_root_dir=tmp_path)
    fit.fit(module, loader(shuffle=True), loader())
    assert fit.callback_metrics["val/acc"] > 0.5
    assert fit.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-5)
    again = distill.Distiller(Net(4), module._models[1], kd="fitnet")
    results = trainer().validate(again, loader(), ckpt_path=fit.checkpoint_callback.best_model_path, verbose=False)
    assert results[0]["val/acc"] == pytest.approx(float(fit.callback_metrics["val/acc"]))


def test_a_students_generators_are_the_scripts_own():
    draws = []
    for script_seed in (1, 1, 2):
        torch.manual_seed(0)
        module = distill.Distiller(nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3)), Net(8))
        torch.manual_seed(script_seed)
        trainer().fit(module, loader())
        draws.append(module.student[2].weight.detach().clone())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_without_a_teacher_it_learns_from_labels():
    module = distill.Distiller(Net(4), kd="none")
    trainer().fit(module, loader())
    assert "train/agreement" not in module.trainer.callback_metrics


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kd": "dkdd"}, "kd has no option 'dkdd'; did you mean 'dkd'"),
        ({"T": -1}, r"kd\.T must be above 0"),
        ({"temperature": 4}, "there is no key 'kd.temperature'"),
        ({"kd": "crd"}, "term 'crd' needs each sample's index"),
        ({"kd": "ft"}, "term 'ft' needs a pretraining stage"),
        ({"kd": "takd"}, r"kd\.assistants is for distill\.train"),
        ({"kd": "simkd"}, r"kd\.student_wrapper is for distill\.train"),
        ({"kd": "ban"}, r"kd\.generations is for distill\.train"),
        ({"teacher": None}, "term 'kd' needs a teacher, and teacher is None: give one, or kd=\"none\""),
        ({"kd": None}, "kd must be the name of a method, or a list of names, got None"),
        ({"optimizer": torch.optim.SGD([nn.Parameter(torch.zeros(1))])}, "optimizer must make the optimizer"),
        ({"teacher": "resnet50"}, r"teacher must be a torch\.nn\.Module, got str"),
        (
            {"teacher": Net(8, classes=4), "example": torch.zeros(2, 1, 8, 8)},
            "the student gives 3 logits and the teacher 4",
        ),
        ({"example": torch.zeros(2, 3, 8, 8)}, r"the student Net cannot run on inputs \(1, 3, 8, 8\)"),
    ],
)
def test_a_mistake_is_one_line(arguments, message):
    with pytest.raises(distill.UserError, match=message) as caught:
        distill.Distiller(**{"student": Net(4), "teacher": Net(8), **arguments})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 3]), r"label 3 is outside 0\.\.2: the student has 3 logits"),
        (torch.tensor([-1, 0]), r"label -1 is outside 0\.\.2"),
        (torch.tensor([[0], [1]]), r"must have the shape \(N,\), got \(2, 1\)"),
        (torch.tensor([0.0, 1.0]), r"shares of the classes, \(N, 3\), got \(2,\)"),
    ],
)
def test_labels_out_of_range_are_one_line(target, message):
    module = distill.Distiller(Net(4), Net(8))
    data = TensorDataset(torch.zeros(2, 1, 8, 8), target)
    with pytest.raises(distill.UserError, match=message) as caught:
        trainer().fit(module, DataLoader(data, batch_size=2))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [{"x": torch.zeros(2)}, torch.zeros(2, 1), [torch.zeros(2)] * 3])
def test_batches_of_another_form_are_one_line(batch):
    module = distill.Distiller(Net(4), Net(8), example=torch.zeros(2, 1, 8, 8))
    with pytest.raises(
        distill.UserError, match=r"takes batches \(inputs, target\), or dicts with labels, and the loader gives a"
    ):
        module.on_after_batch_transfer(batch, 0)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(pairs())


def test_a_stream_without_a_length_is_trained_at_a_constant_rate():
    module = distill.Distiller(Net(4), Net(8))
    trainer().fit(module, DataLoader(Stream(), batch_size=16))
    assert module.trainer.lr_scheduler_configs == []


def test_schedules_run_over_the_steps_where_there_are_no_epochs():
    module = distill.Distiller(Net(4), Net(8), T={"schedule": "linear", "start": 8, "end": 1})
    values = []
    module.on_train_epoch_end = lambda: values.append(module.criterion.scheduled["kd.T"])
    trainer(max_steps=18, max_epochs=-1).fit(module, loader())  # three epochs
    assert values == pytest.approx([8, 4.5, 1])


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_the_teacher_has_the_precision_of_the_trainer(precision):
    module = distill.Distiller(Net(4), Net(8))
    trainer(precision=precision).fit(module, loader())
    assert torch.isfinite(module.trainer.callback_metrics["train/loss"])


@pytest.mark.parametrize("kd", ["at", "rkd"])
def test_both_models_are_left_without_hooks_and_as_trainable_as_before(kd):
    student, teacher = Net(4), Net(8).train()
    module = distill.Distiller(student, teacher, kd=kd)
    fit = trainer()
    fit.fit(module, loader())
    for model in (student, teacher):
        torch.save(model, io.BytesIO())
    assert all(parameter.requires_grad for parameter in teacher.parameters())
    assert teacher.training
    first = fit.validate(module, loader(), verbose=False)[0]["val/loss"]
    assert fit.validate(module, loader(), verbose=False)[0]["val/loss"] == first


def test_it_predicts_inputs_and_pairs():
    module, inputs = distill.Distiller(Net(4), Net(8), example=torch.zeros(2, 1, 8, 8)), pairs()[:][0]
    from_pairs = trainer().predict(module, loader())
    from_inputs = trainer().predict(module, DataLoader(inputs, batch_size=16))
    assert torch.equal(torch.cat(from_pairs), torch.cat(from_inputs))


def test_what_cannot_be_trained_is_one_line():
    student = Net(4)
    with pytest.raises(distill.UserError, match="share parameters"):
        distill.Distiller(student, student)
    with pytest.raises(distill.UserError, match=r"gives each batch once: give example="):
        trainer().fit(distill.Distiller(student, Net(8)), iter(list(loader())))
    module = distill.Distiller(
        student,
        Net(8),
        optimizer=lambda p: torch.optim.SGD(p, 0.1),
        scheduler=lambda optimizer, total_steps: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps),
    )
    with pytest.raises(distill.UserError, match="the scheduler needs the number of steps"):
        trainer().fit(module, DataLoader(Stream(), batch_size=16))


def test_labels_that_are_true_or_false_are_trained():
    inputs, labels = torch.randn(8, 3, 8, 8), torch.arange(8) % 2
    losses = []
    for target in (labels, labels.bool()):
        torch.manual_seed(0)
        module = distill.Distiller(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), None, kd="none")
        trainer().fit(module, DataLoader(TensorDataset(inputs, target), 8))
        losses.append(float(module.trainer.callback_metrics["train/loss"]))
    assert losses[0] == losses[1]
