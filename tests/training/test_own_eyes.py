"""``teacher.preprocess``: when a teacher has eyes of its own, and who agrees on them."""

import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from distill.config.schema import typed
from distill.config.validation import check
from distill.distillation.teacher_cache import digest
from distill.evaluation.runs import Run
from distill.models import timm_model
from distill.models.hub.preprocess import preprocess_of, published
from distill.training.prepare import prepare
from distill.training.pretrained import settle
from distill.utils.errors import UserError
from jobs import TINY, composed, run_job

TEACHER = ("teacher=timm", "teacher.name=test_resnet")
PUBLISHED = published({"_target_": "distill.models.timm_model", "name": "test_resnet"})
SMALL = "teacher.preprocess={size: 24}"


class Grey:
    """What the configuration is settled by: 8×8 pixels of one channel."""

    kind, image_size = "images", 8

    class preprocess:
        channels, mean, std = 1, (0.3,), (0.2,)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(timm_model("test_resnet", 7).state_dict(), path)
    return path


def settled(*overrides, data=Grey):
    cfg = composed(*overrides)
    check(typed(cfg))
    return settle(cfg, typed(cfg), data)


def experiment(tmp_path, *overrides):
    cfg = composed("trainer.accelerator=cpu", f"teachers_dir={tmp_path}", "teacher.recipe.batch_size=8", *TINY,
                   *TEACHER, *overrides)  # fmt: skip
    check(typed(cfg))
    return prepare(cfg, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], False),
        (["teacher=resnet20", "teacher.backbone={file}"], False),
        (["teacher=resnet20", "teacher.checkpoint={file}"], False),
        ([*TEACHER], False),
        ([*TEACHER, "teacher.pretrained=true"], PUBLISHED.as_dict()),
        ([*TEACHER, "teacher.backbone={file}"], PUBLISHED.as_dict()),
        ([*TEACHER, "teacher.checkpoint={file}"], PUBLISHED.as_dict()),
        ([*TEACHER, "teacher.pretrained=true", "teacher.preprocess=false"], False),
        ([*TEACHER, SMALL], PUBLISHED.as_dict() | {"size": 24}),
        (["teacher=resnet20", "teacher.preprocess={mean: [0.5], std: [0.4]}"],
         {"mean": [0.5], "std": [0.4], "size": 8, "interpolation": "bilinear"}),
        (["teacher=resnet18", "teacher.pretrained=true"],
         {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "size": 224, "interpolation": "bilinear"}),
    ],
)  # fmt: skip
def test_auto_is_for_weights_that_come_from_elsewhere(file, overrides, expected):
    assert (
        settled(*(override.format(file=file) if "{file}" in override else override for override in overrides))[
            "teacher"
        ]["preprocess"]
        == expected
    )


def test_other_teachers_have_their_own():
    teachers = settled("kd.teachers=[resnet8, {model: timm, name: test_resnet, pretrained: true}]").kd.teachers
    assert "preprocess" not in teachers[0]
    assert teachers[1].preprocess == PUBLISHED.as_dict()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("true", r"teacher\.preprocess must be auto, false or \{mean, std, size, interpolation\}, got True"),
        ("{sise: 3}", r"teacher\.preprocess has no 'sise'; did you mean 'size'"),
        ("{size: 0}", r"teacher\.preprocess\.size must be a whole number of pixels from 1 to 4096, got 0"),
        ("{std: [0]}", r"teacher\.preprocess\.std must be above 0"),
        ("{mean: grey}", r"teacher\.preprocess\.mean must be a list of numbers, one per channel, got 'grey'"),
        ("{interpolation: cubic}", r"teacher\.preprocess\.interpolation=cubic is unknown; did you mean 'bicubic'"),
        ("{mean: [0.5, 0.5]}", r"teacher\.preprocess has 2 means and 1 deviations, and the data 1 channel: "),
    ],
)
def test_mistakes_are_one_line(value, message):
    with pytest.raises(UserError, match=message):
        settled("teacher=resnet20", f"teacher.preprocess={value}")


def test_the_teacher_is_built_for_what_it_sees(tmp_path, file, caplog):
    with caplog.at_level(logging.INFO):
        job = experiment(tmp_path, f"teacher.backbone={file}", SMALL)
    teacher = job.teachers[0].student
    assert (
        f"teacher test_resnet sees views at 24×24 {PUBLISHED.interpolation}, normalised with its own mean and std"
        in caplog.messages
    )
    assert preprocess_of(teacher.model).size == 24
    assert next(layer for layer in teacher.model.modules() if isinstance(layer, torch.nn.Conv2d)).in_channels == 3
    assert preprocess_of(job.stages[-1].student.model) is None
    assert job.config["teacher"]["preprocess"] == PUBLISHED.as_dict() | {"size": 24}


def test_fingerprint_and_cache_tell_the_eyes_apart(tmp_path, file):
    given = f"teacher.backbone={file}"
    jobs = [experiment(tmp_path, given, eyes) for eyes in (SMALL, "teacher.preprocess={size: 28}")]
    first, second = (job.teachers[0] for job in jobs)
    assert first.source.folder != second.source.folder
    second.student.model.load_state_dict(first.student.model.state_dict())
    assert digest(first.student.model) != digest(second.student.model)


@pytest.mark.slow
def test_a_finished_run_is_opened_with_the_same_eyes(tmp_path, file):
    """Trained, cached, evaluated and opened again alike; its teacher's file brings its eyes along."""
    report = run_job(tmp_path / "run", *TINY, *TEACHER, f"teacher.backbone={file}", SMALL)
    run = Run(tmp_path / "run")
    eyes = preprocess_of(run.teacher.model)
    assert eyes.as_dict() == report["config"]["teacher"]["preprocess"]
    with torch.no_grad():
        right = [run.teacher.model(b.inputs).argmax(1).eq(b.target) for b in run.data.test_dataloader()]
    assert torch.cat(right).float().mean().item() == pytest.approx(report["teacher"]["test"]["acc"])
    kept = report["teacher"]["path"]
    with safe_open(kept, "pt") as stored:
        assert "preprocess" in stored.metadata()
    again = run_job(tmp_path / "again", *TINY, *TEACHER, f"teacher.checkpoint={kept}")
    assert again["config"]["teacher"]["preprocess"] == eyes.as_dict()
    assert again["teacher"]["test"] == report["teacher"]["test"]
    assert again["student"]["last"]["test"] == report["student"]["last"]["test"]
