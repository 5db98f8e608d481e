"""A model that starts from a pretrained backbone: the configuration, the fingerprint, and the finished run."""

import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from distill.config.schema import typed
from distill.config.validation import check
from distill.evaluation.runs import Run
from distill.models import resnet8, resnet20
from distill.training.prepare import prepare
from distill.utils.errors import UserError
from jobs import TINY, composed, run_job


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of 1,000 classes and RGB images, as a hub has them; the digits have 10 classes and are grey."""
    folder = tmp_path_factory.mktemp("weights")
    for name, build in (("resnet8", resnet8), ("resnet20", resnet20)):
        torch.manual_seed(3)
        save_file(build(1000).state_dict(), folder / f"{name}.safetensors")
    return folder


def experiment(tmp_path, *overrides):
    cfg = composed("threads=1", "trainer.accelerator=cpu", f"teachers_dir={tmp_path}", *TINY[1:], *overrides)
    check(typed(cfg))
    return prepare(cfg, tmp_path)


def test_student_teachers_and_assistants_start_from_files(tmp_path, files, caplog):
    with caplog.at_level(logging.INFO):
        job = experiment(
            tmp_path,
            f"model.backbone={files}/resnet8.safetensors",
            f"teacher.backbone={files}/resnet20.safetensors",
            f"kd.assistants=[{{model: resnet8, backbone: {files}/resnet8.safetensors}}]",
        )
    nets = [stage.student for stage in (*job.teachers, *job.stages)]
    assert [net.name for net in nets] == ["resnet20", "resnet8", "resnet8"]
    for net in nets:
        torch.manual_seed(3)
        source = {"resnet8": resnet8, "resnet20": resnet20}[net.name](1000).state_dict()
        state = net.model.state_dict()
        assert all(torch.equal(state[key], source[key]) for key in state if key.startswith("layer"))
        assert torch.allclose(state["conv1.weight"], source["conv1.weight"].sum(1, keepdim=True))
        assert len(state["fc.weight"]) == 10
    lines = [line for line in caplog.messages if " weights from " in line]
    assert [line.partition(":")[0] for line in lines] == [
        "the teacher resnet20",
        "the assistant 1 resnet8",
        "the student resnet8",
    ]


def test_a_teacher_is_known_by_the_files_content(tmp_path, files):
    def folder(*overrides):
        return experiment(tmp_path, *overrides).teachers[0].source.folder

    copied = tmp_path / "copied.safetensors"
    copied.write_bytes((files / "resnet20.safetensors").read_bytes())
    other = tmp_path / "other.pt"
    torch.save(resnet20(1000).state_dict(), other)
    given, same, changed, without = (
        folder(*([f"teacher.backbone={file}"] if file else []))
        for file in (files / "resnet20.safetensors", copied, other, None)
    )
    assert given == same
    assert len({given, changed, without}) == 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher.backbone={f}/resnet2.safetensors"], r"teacher\.backbone: .* not exist .*'resnet20.safetensors'"),
        (["model.backbone=7"], r"model\.backbone must be a file with weights, got 7"),
        (["teacher.backbone={f}/resnet8.safetensors"], r"fits \d+ of the \d+ weights of the teacher resnet20"),
        (["teacher.backbone={f}/resnet20.safetensors", "teacher.checkpoint={f}/resnet20.safetensors"],
         r"teacher\.backbone and teacher\.checkpoint both give its weights"),
        (["model.backbone={f}/resnet8.safetensors", "init={f}/resnet8.safetensors"], r"model\.backbone and init both"),
        (["teacher.backbone={f}/resnet20.safetensors", "teacher.recipe.max_epochs=0"], "comes with a new classifier"),
        (["kd.teachers=[{{model: resnet8, backbone: gone.pt}}]"], r"kd\.teachers\.0\.backbone: gone\.pt does"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_before_training(tmp_path, files, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        experiment(tmp_path, *(override.format(f=files) for override in overrides))
    assert "\n" not in str(error.value)


def test_an_argument_of_that_name_stays_the_classs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    code = "import torch\ndef net(num_classes, backbone):\n    assert backbone == 'wide'\n"
    code += "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    (tmp_path / "net_with_backbone.py").write_text(code)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "theirs.yaml").write_text("_target_: net_with_backbone.net\nbackbone: wide\n")
    cfg = composed("model=theirs", "kd=none", *TINY, f"teachers_dir={tmp_path}", config_dirs=[tmp_path])
    check(typed(cfg))
    assert prepare(cfg, tmp_path).stages[-1].student.name == "net"


@pytest.mark.slow
def test_a_finished_run_needs_the_files_no_more(tmp_path, files):
    """Its own weights replace them; a folder of somebody else's makes nothing read a file that it names."""
    copies = [tmp_path / f"{name}.safetensors" for name in ("resnet8", "resnet20")]
    for copy in copies:
        copy.write_bytes((files / copy.name).read_bytes())
    report = run_job(tmp_path / "run", *TINY, f"model.backbone={copies[0]}", f"teacher.backbone={copies[1]}")
    assert report["config"]["teacher"]["backbone"] == str(copies[1])
    for copy in copies:
        copy.write_bytes(b"not weights")
    found = Run(tmp_path / "run")
    predicted = found.student.model(found.data.example(2))
    assert predicted.shape == (2, 10)
    for name in ("model", "teacher"):
        report["config"][name]["backbone"] = "/dev/zero"  # reading it would never end
    (tmp_path / "run" / "summary.json").write_text(json.dumps(report))
    again = Run(tmp_path / "run")
    assert torch.equal(again.student.model(found.data.example(2)), predicted)
    assert again.teacher is not None
