"""What is written on the command line arrives in the objects."""

import sys
from types import ModuleType

import pytest
import torch
from omegaconf import OmegaConf

from distill.config.schema import typed
from distill.data import ImageDataModule, Splits, TensorImages
from distill.training.fingerprint import fingerprint_inputs
from distill.training.prepare import prepare
from distill.utils.errors import UserError
from jobs import composed

FAST = ("threads=1", "data.subset=200", "trainer.accelerator=cpu")


def job(tmp_path, *overrides):
    return prepare(composed(*FAST, f"teachers_dir={tmp_path / 'teachers'}", *overrides), tmp_path)


def rate(recipe):
    return recipe.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]


def test_the_loss(tmp_path):
    made = job(tmp_path, "kd=combined", "kd.T=9", "kd.alpha=0.3", "kd.label_smoothing=0.2",
               "kd.terms.rkd.weight=7", "kd.terms.kd.loss.t_squared=false", "kd.terms.rkd.loss.angle=3",
               "kd.terms.fitnet.student=1")  # fmt: skip
    criterion = made.stages[-1].criterion
    assert (criterion.alpha, criterion.label_smoothing) == (0.3, 0.2)
    assert {term.name: term.weight for term in criterion.terms} == {"kd": 1.0, "fitnet": 10.0, "rkd": 7.0}
    assert (criterion.losses["kd"][0].T, criterion.losses["kd"][0].t_squared) == (9.0, False)
    assert (criterion.losses["rkd"][0].distance, criterion.losses["rkd"][0].angle) == (25.0, 3.0)
    assert (criterion.student_layers["fitnet"], criterion.teacher_layers["fitnet"]) == (["layer1"], ["layer2"])


def test_defaults_of_the_strategies(tmp_path):
    """α, T and weights as conf/kd and the papers have them."""
    logit = job(tmp_path, "kd=kd").stages[-1].criterion
    assert (logit.alpha, logit.losses["kd"][0].T, logit.losses["kd"][0].t_squared) == (0.1, 4.0, True)
    feature = job(tmp_path, "kd=fitnet").stages[-1].criterion
    assert (feature.alpha, feature.terms[0].weight) == (None, 100.0)
    relation = job(tmp_path, "kd=rkd").stages[-1].criterion
    assert (relation.alpha, relation.losses["rkd"][0].distance, relation.losses["rkd"][0].angle) == (None, 25.0, 50.0)


def test_a_batch_is_bounded_by_what_is_compared(tmp_path):
    """RKD's angles are; its distances alone are not, nor is a term that is never computed."""
    large = ("kd=rkd", "data.subset=null", "data.batch_size=600")
    with pytest.raises(UserError, match="term 'rkd' takes at most 512 samples in a batch .* is 600"):
        job(tmp_path, *large)
    warm = "kd.terms.rkd.loss.angle={schedule:warmup,value:50,epochs:2}"
    with pytest.raises(UserError, match="takes at most 512 samples"):
        job(tmp_path, *large, warm)
    assert job(tmp_path, *large, "kd.terms.rkd.loss.angle=0").stages
    assert job(tmp_path, *large, "kd=[rkd,kd]", "kd.terms.rkd.weight=0").stages


def test_methods_combine_on_the_command_line(tmp_path):
    criterion = job(tmp_path, "kd=[dkd,sp,kd]", "kd.terms.sp.weight=7").stages[-1].criterion
    assert [term.name for term in criterion.terms] == ["dkd", "sp", "kd"]
    assert (criterion.alpha, criterion.losses["kd"][0].T, criterion.terms[1].weight) == (0.1, 4.0, 7.0)
    assert job(tmp_path, "kd=[kd,rkd]").stages[-1].criterion.alpha is None  # the last one's
    chain = job(tmp_path, "kd=[takd,sp]").stages
    assert [str(stage.role) for stage in chain] == ["assistant_1", "student"]
    assert [term.name for term in chain[0].criterion.terms] == ["kd", "sp"]


def test_the_students_recipe_and_the_teachers_own(tmp_path):
    made = job(tmp_path, "optimizer.lr=0.3", "data.batch_size=16", "teacher.recipe.optimizer.lr=0.01", "seed=5",
               "teacher.recipe.batch_size=32", "teacher.recipe.label_smoothing=0.1", "teacher.recipe.seed=7",
               "teacher.recipe.max_epochs=3", "trainer.max_epochs=4", "teacher.recipe.gradient_clip_val=2",
               "scheduler@teacher.recipe.scheduler=multistep")  # fmt: skip
    student, teacher = made.stages[-1], made.teachers[0]
    assert (rate(student)["lr"], rate(teacher)["lr"]) == (0.3, 0.01)
    assert (student.data.batch_size, teacher.data.batch_size) == (16, 32)
    assert (student.data.seed, teacher.data.seed) == (student.seed, teacher.seed) == (5, 7)
    assert (student.criterion.label_smoothing, teacher.criterion.label_smoothing) == (0.0, 0.1)
    trainers = student.make_trainer(tmp_path / "s", "s"), teacher.make_trainer(tmp_path / "t", "t")
    assert [t.max_epochs for t in trainers] == [4, 3]
    assert [t.gradient_clip_val for t in trainers] == [None, 2]
    assert "multistep" in repr(teacher.scheduler)
    assert "OneCycleLR" in repr(student.scheduler)


@pytest.mark.parametrize("asked", ["32-true", "bf16-mixed"])
def test_precision_reaches_training_and_testing(tmp_path, asked):
    made = job(tmp_path, f"trainer.precision={asked}")
    assert made.precision == asked
    assert made.stages[-1].make_trainer(tmp_path / "x", "x").precision == asked
    assert made.make_evaluator().precision == asked


def test_momentum_is_the_optimizers(tmp_path):
    """torch's OneCycleLR would cycle it, whatever was asked for."""
    recipe = job(tmp_path, "optimizer.momentum=0.5").stages[-1]
    optimizer = recipe.optimizer([torch.nn.Parameter(torch.zeros(1))])
    recipe.scheduler(optimizer, total_steps=10)
    assert optimizer.param_groups[0]["momentum"] == 0.5


def test_small_steps_use_one_thread_and_large_ones_all(tmp_path, monkeypatch):
    """Where that is faster; the folder keeps it, for the run to be resumed with."""
    from distill.training import threads
    from distill.utils.processes import usable_cores

    monkeypatch.setattr(threads, "busy_cores", lambda: 0)
    monkeypatch.setattr(threads, "compare", lambda step, count: (1.0, 0.5))
    (tmp_path / "config.yaml").touch()

    try:
        prepare(composed("data.subset=200", "trainer.accelerator=cpu"), tmp_path)
        assert torch.get_num_threads() == 1
        prepare(
            composed("data.subset=200", "trainer.accelerator=cpu", "teacher=resnet32x4", "data.batch_size=512"),
            tmp_path,
        )
        assert torch.get_num_threads() == usable_cores()
        assert OmegaConf.load(tmp_path / "config.yaml").threads == usable_cores()
    finally:
        torch.set_num_threads(1)


def test_rehearsal_leaves_no_trace(tmp_path):
    """The student and the teacher start from the same weights and buffers with any kd."""
    alone, taught = job(tmp_path, "kd=none"), job(tmp_path, "kd=combined")
    a, b = alone.stages[-1].student.model.state_dict(), taught.stages[-1].student.model.state_dict()
    assert all(torch.equal(value, b[key]) for key, value in a.items())
    assert taught.stages[-1].student.model.training
    assert taught.stages[-1].criterion.training
    assert int(taught.stages[-1].student.model.bn1.num_batches_tracked) == 0
    adapter = taught.stages[-1].criterion.losses["fitnet"][0].adapter
    assert int(adapter[1].num_batches_tracked) == 0
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in taught.teachers[0].student.model.modules())


def test_the_classes_and_the_shape_of_an_image_shape_a_teacher():
    cfg = composed(*FAST)
    node = {"_target_": "distill.models.resnet8"}

    def inputs(classes, shape):
        images = TensorImages(torch.zeros(40, *shape, dtype=torch.uint8), torch.arange(40) % 2)
        data = ImageDataModule.from_options(lambda: Splits(images, classes=classes), 4)
        return fingerprint_inputs(typed(cfg), node, data, "32-true")

    same = inputs(["a", "b"], (1, 4, 4))
    assert same == inputs(["a", "b"], (1, 4, 4))
    assert same != inputs(["a", "c"], (1, 4, 4))
    assert same != inputs(["a", "b", "c"], (1, 4, 4))
    assert same != inputs(["a", "b"], (1, 2, 8))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+logger.mine={_target_: nosuch_module.Logger}", "logger.mine._target_: cannot import 'nosuch_module.Logger'"),
        (
            "+logger.csv.flush=3",
            "logger.csv: .*CSVLogger takes no 'flush'; did you mean|logger.csv: .* takes no 'flush'",
        ),
        ("+callbacks.mine={_target_: lightning.pytorch.callbacks.Nope}", "callbacks.mine._target_: cannot import"),
        ("+callbacks.mine={_target_: lightning.pytorch.callbacks.EarlyStopping}", "callbacks.mine: .*'monitor'"),
        ("++callbacks.best.save_top_k=-5", "callbacks.best: .*save_top_k"),
    ],
)
def test_loggers_and_callbacks_are_looked_at_before_any_training(override, message, tmp_path):
    with pytest.raises(UserError, match=message):
        job(tmp_path, "logger=csv", override)


def test_a_model_that_is_nan_in_evaluation_or_holds_nothing_is_refused(tmp_path, monkeypatch):
    module = ModuleType("odd_net")

    def net(num_classes, odd):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, num_classes))
        if odd == "norm":
            model[1].running_var.fill_(-1)
        else:
            model[2].unused = torch.nn.Linear(1, 1, device="meta")
        return model

    module.net = net
    monkeypatch.setitem(sys.modules, "odd_net", module)
    with pytest.raises(UserError, match="the student net gives NaN for the first training inputs in evaluation mode"):
        job(tmp_path, "model._target_=odd_net.net", "+model.odd=norm")
    with pytest.raises(UserError, match=r"net as it is built: tensor '2.unused.weight' is empty \(device meta\)"):
        job(tmp_path, "model._target_=odd_net.net", "+model.odd=meta")


def test_a_student_that_begins_with_nan_is_refused(tmp_path, monkeypatch):
    module = ModuleType("nan_net")

    def net(num_classes):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(8), torch.nn.Linear(8, num_classes))
        model[2].weight.data[0, 0] = torch.nan
        return model

    module.net = net
    monkeypatch.setitem(sys.modules, "nan_net", module)
    message = "net as it is built: tensor '2.weight' holds 1 values of 80 that are NaN or infinite; its constructor"
    with pytest.raises(UserError, match=f"the student {message}"):
        job(tmp_path, "model._target_=nan_net.net")
    with pytest.raises(UserError, match=f"the teacher {message}"):
        job(tmp_path, "teacher._target_=nan_net.net")
