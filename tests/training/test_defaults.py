"""What a configuration leaves to the data: image size, batch size, epochs, learning rate, the teacher."""

import json
import logging
import re
from dataclasses import fields

import pytest
from PIL import Image

from distill.config.default_teacher import TEACHERS, default_teacher
from distill.config.schema import AugmentConfig, typed
from distill.data import Augment
from distill.training import defaults
from distill.training.load_data import load_data
from distill.training.prepare import prepare
from distill.utils.errors import UserError
from jobs import composed, run_job

SHORT = ("threads=1", "logger=none", "trainer.max_epochs=1", "teacher.recipe.max_epochs=1")


def photos(root, sizes, classes="ab"):
    for name in classes:
        for number, size in enumerate(sizes):
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (number * 5 % 256, 0 if name == "a" else 200, 90)).save(
                root / name / f"{number}.png"
            )
    return root


@pytest.mark.parametrize(
    ("num_train", "batch_size", "epochs"), [(28, 8, 200), (300, 16, 85), (1280, 64, 20), (50_000, 64, 20)]
)
def test_small_sets_get_smaller_batches_and_more_epochs(num_train, batch_size, epochs):
    assert (defaults.batch_size(num_train), defaults.epochs(num_train)) == (batch_size, epochs)


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({"hidden_size": 384}, 1e-4),
        ({"dim": 768}, 5e-5),
        ({"d_model": 1024}, 3.75e-5),
        ({"hidden_size": 32}, 5e-4),
        ({}, 5e-5),
    ],
)
def test_a_narrow_model_of_tokens_has_a_larger_rate(tmp_path, settings, rate):
    (tmp_path / "config.json").write_text(json.dumps(settings))
    node = {"_target_": "distill.models.hf_model", "name": str(tmp_path), "pretrained": True}
    assert defaults._rate(node, "text", "tokens") == pytest.approx(rate)
    assert defaults._rate(node, "text", "classes") == 5e-5
    assert defaults._rate({**node, "pretrained": False}, "text", "tokens") == 5e-4
    assert defaults.batch_size(2000, "text", "tokens") == 16
    assert defaults.batch_size(2000, "text") == 32


def test_the_images_of_several_sizes_are_fitted_to_their_median(tmp_path):
    root = photos(tmp_path / "photos", [(40, 60), (50, 50), (44, 90)] * 6)
    cfg = typed(composed("data=imagefolder", f"data.root={root}"))
    data = load_data(cfg.data, 0, defaults.largest_image(cfg))
    assert data.image_size == 44
    assert data.loaded.options.augment.crop_padding == 44 // 8
    values = defaults.chosen(cfg, data)
    assert values["data.image_size"] == 44
    assert values["data.batch_size"] == values["teacher.recipe.batch_size"] == 8
    assert values["optimizer.lr"] == pytest.approx(0.1 / 8)


def test_large_images_are_bounded_and_small_ones_of_one_size_stay(tmp_path):
    large = photos(tmp_path / "large", [(300, 200)] * 10)
    small = photos(tmp_path / "small", [(28, 28)] * 10)
    sizes = []
    for root in (large, small):
        cfg = typed(composed("data=imagefolder", f"data.root={root}"))
        data = load_data(cfg.data, 0, defaults.largest_image(cfg))
        sizes.append((data.image_size, data.loaded.options.image_size))
    assert sizes == [(64, 64), (28, None)]


@pytest.mark.parametrize(
    ("models", "largest"), [(("resnet18", "resnet34"), (96, 224)), (("resnet8", "resnet20"), (32, 64))]
)
def test_the_bound_follows_the_models_and_the_number_of_images(models, largest):
    bound = defaults.largest_image(typed(composed(f"model={models[0]}", f"teacher={models[1]}", "trainer=cpu")))
    assert bound(10_000_000) == largest[0]
    assert bound(1) == largest[1]


def test_models_made_for_imagenet_have_a_gentler_rate():
    cfg = typed(composed("model=resnet18", "teacher=resnet20", "data.subset=100"))
    values = defaults.chosen(cfg, load_data(cfg.data, 0, defaults.largest_image(cfg)))
    assert (values["optimizer.lr"], values["teacher.recipe.optimizer.lr"]) == (0.02, 0.1)


def test_the_schema_of_the_views_is_that_of_the_class():
    """The schema imports nothing heavy, so it lists what ``Augment`` takes anew."""
    assert [(f.name, f.default) for f in fields(AugmentConfig)] == [(f.name, f.default) for f in fields(Augment)]


def test_what_is_given_is_kept(tmp_path):
    given = ("data.batch_size=32", "optimizer.lr=0.3", "trainer.max_epochs=3", "teacher.recipe.batch_size=16")
    cfg = typed(composed("data=imagefolder", f"data.root={photos(tmp_path, [(20, 20)] * 20)}", *given))
    values = defaults.chosen(cfg, load_data(cfg.data, 0, defaults.largest_image(cfg)))
    assert values == {"teacher.recipe.max_epochs": 200, "teacher.recipe.optimizer.lr": 0.1}


def test_a_run_records_what_was_chosen_and_a_resumed_one_keeps_it(tmp_path):
    root = photos(tmp_path / "photos", [(20, 24), (24, 20)] * 12)
    summary = run_job(tmp_path / "run", "data=imagefolder", f"data.root={root}", *SHORT)
    assert summary["config"]["data"]["image_size"] == 20
    assert summary["config"]["data"]["batch_size"] == 8
    assert "lr: 0.0125" in (tmp_path / "run/config.yaml").read_text()


@pytest.mark.parametrize("key", ["trainer.max_epochs", "data.batch_size", "teacher.recipe.max_epochs"])
def test_a_fraction_is_refused(key):
    from distill.config.validation import check

    with pytest.raises(UserError, match=f"{key} must be a whole number, got 1.5"):
        check(typed(composed(f"{key}=1.5")))


def test_the_default_teacher_follows_the_student():
    assert composed("model=resnet18").teacher._target_ == "distill.models.resnet34"
    assert composed("model=resnet18", "teacher=resnet50").teacher._target_ == "distill.models.resnet50"
    assert composed().teacher._target_ == "distill.models.resnet20"
    assert default_teacher("mine") == "resnet20"


@pytest.mark.slow
def test_every_default_teacher_is_at_least_as_large():
    from distill.config.instantiate import instantiate
    from distill.config.nodes import MODEL_KEYS

    def parameters(name):
        node = {key: value for key, value in composed(f"model={name}").model.items() if key not in MODEL_KEYS}
        model = instantiate(node, "model", num_classes=10, in_channels=3, image_size=32)
        return sum(parameter.numel() for parameter in model.parameters())

    for student, teacher in TEACHERS.items():
        if teacher == "hf":  # as large as what is named
            continue
        assert parameters(student) <= parameters(teacher), student


def test_the_time_is_said_and_a_larger_student_is_said(tmp_path, caplog):
    from distill.training.overview import check_sizes, plan_lines

    overrides = ("data.subset=100", "threads=1", "trainer=cpu", "trainer.max_epochs=1", f"teachers_dir={tmp_path}")
    with caplog.at_level(logging.WARNING):
        check_sizes(prepare(composed(*overrides), tmp_path / "run"))
        assert not caplog.messages
        experiment = prepare(composed(*overrides, "model=resnet20", "teacher=resnet8"), tmp_path / "other")
        check_sizes(experiment)
    assert (
        "the student resnet20 (272 k parameters) is larger than its teacher resnet8 (77.8 k parameters)" in caplog.text
    )
    *lines, last = plan_lines(experiment)
    assert "plan: student resnet20 (272 k parameters): 1 epoch of 2 batches of 64, taught by resnet8" in lines
    assert re.fullmatch(r"plan: about [1-9][0-9]* (s|min) on this machine", last)


def test_a_loss_that_explodes_is_said_within_an_epoch(tmp_path, caplog):
    diverging = ("optimizer.lr=300", "scheduler=none", "kd=none", "data.subset=300", "trainer.max_epochs=1")
    try:
        run_job(tmp_path / "run", *SHORT[:2], *diverging)
    except UserError as error:  # it may end with NaN at once, which names the same remedy
        assert "lower the learning rate" in str(error)
    else:
        assert "the training diverges; lower the learning rate" in caplog.text
