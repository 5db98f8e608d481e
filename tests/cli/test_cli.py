"""The front of the command line: quick, and one line for every mistake."""

import atexit
import gc
import re
import resource
import sys

import pytest

from distill.cli import job
from distill.config.compose import CONF
from jobs import command

MISTAKES = {
    "model=resnt8": r"model has no option 'resnt8'; did you mean 'resnet8'",
    "teacher=resnet21": r"teacher has no option 'resnet21'; did you mean .*'resnet20'",
    "kd=fitnets": r"kd has no option 'fitnets'; did you mean 'fitnet'",
    "kd=[dkd,spp]": r"kd has no option 'spp'; did you mean 'sp'",
    "modl=resnet8": r"there is no key 'modl'; keys: did you mean 'model'",
    "kd.TT=3": r"there is no key 'kd.TT'; keys in kd: did you mean 'T'",
    "kd.terms.kd.wieght=3": r"there is no key 'kd.terms.kd.wieght'; keys in kd.terms.kd: did you mean 'weight'",
    "+kd.terms.kd.loss.TT=3": r"kd.terms.kd.loss: distill.losses.KD takes no 'TT'; did you mean 'T'",
    "teacher.chekpoint=x.pt": r"keys in teacher: did you mean 'checkpoint'",
    "+model.widht=3": r"model: distill.models.resnet8 takes no 'widht'; Allowed: num_classes, in_channels",
    "model._target_=distill.models.resnt8": r"distill.models has no 'resnt8'; did you mean 'resnet8'",
    "kd.T=warm": r"kd.T must be a finite number, got 'warm'",
    "kd.T=null": r"kd.T must be a finite number, got None",
    "kd.T={schedule:linear,start:4,end:0}": r"kd.T must be above 0, got 0.0",
    "kd.T={schedule:liner,start:4,end:1}": r"kd.T.schedule=liner is unknown; did you mean 'linear'",
    "kd.alpha={schedule:linear,start:2,end:0}": r"kd.alpha must be in \[0, 1\] .*, got 2.0",
    "kd.terms.kd.weight={schedule:warmup,value:1,epochs:0}": r"kd.terms.kd.weight.epochs must be a whole number",
    "kd.terms.kd.weight=heavy": r"kd.terms.kd.weight must be a finite number, got 'heavy'",
    "kd.generations=0": r"kd.generations must be at least 1, got 0",
    "kd.teachers=[]": r"kd.teachers is empty: several teachers need at least one beside the main one",
    "kd.assistants=resnet14": r"kd.assistants must be a list of models, got 'resnet14'",
    "kd.peers=[]": r"kd.peers is empty: mutual learning needs at least two students",
    "kd.peers=[3]": r"kd.peers.0 must be a name of the group model, .*, got 3",
    "kd.assistants=[resnt14]": r"model has no option 'resnt14'; did you mean 'resnet14'",
    "kd.peers=[{model:resnet14,widht:3}]": r"kd.peers.0: distill.models.resnet14 takes no 'widht'",
    "kd.teachers=[{model:resnet14,chekpoint:x}]": r"kd.teachers.0: distill.models.resnet14 takes no 'chekpoint'",
    "kd.T=0": r"kd.T must be above 0, got 0.0",
    "kd.T=-2": r"kd.T must be above 0, got -2.0",
    "kd.T=nan": r"kd.T must be a finite number, got nan",
    "kd.alpha=1.5": r"kd.alpha must be in \[0, 1\] \(it weighs the hard loss\), got 1.5",
    "kd.alpha=-0.1": r"kd.alpha must be in \[0, 1\]",
    "kd.terms.kd.weight=-1": r"kd.terms.kd.weight must be at least 0, got -1.0",
    "kd.terms.fitnet.weight=3": r"there is no key 'kd.terms.fitnet'; keys in kd.terms: Allowed: kd",
    "kd.label_smoothing=1": r"kd.label_smoothing must be in \[0, 0.999\], got 1.0",
    "trainer.max_epochs=0": r"trainer.max_epochs must be at least 1, got 0",
    "trainer.max_epochs=many": r"trainer.max_epochs: .*'many'",
    "trainer.precision=fp16": r"trainer.precision=fp16 is unknown; Allowed: auto, 32-true",
    "trainer.accelerator=cudda": r"trainer.accelerator=cudda is unknown; did you mean 'cuda'",
    "data.batch_size=0": r"data.batch_size must be at least 1, got 0",
    "data.val_fraction=1.5": r"data.val_fraction must be .*, got 1.5",
    "optimizer.lr=0": r"optimizer.lr must be above 0, got 0",
    "teacher.checkpoint=nowhere.pt": r"teacher.checkpoint: nowhere.pt does not exist",
    "resume=nowhere": r"resume: nowhere does not exist",
    "resume=docs": r"resume: docs belongs to no run",
    "only=student": r"only: .*student",
    "data=imagefolder": r"data=imagefolder needs the folder of the images: data.root=<folder>",
    "data=parquet": r"data=parquet needs the folder of the images",
    "data=huggingface": r"data.source.name: Missing mandatory value",
    "kd.T=1,2": r"Ambiguous value for argument 'kd.T=1,2'.*To sweep over it, add --multirun",
    "hydra.sweeper.mx_batch_size=3": r"keys in hydra.sweeper: did you mean 'max_batch_size'",
    "kd.alpha": r"Error parsing override 'kd.alpha'",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_without_traceback(mistake, tmp_path):
    done = command(mistake, f"hydra.run.dir={tmp_path}/run")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert re.match(f"error: .*(?:{MISTAKES[mistake]})", lines[0]), lines[0]
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["data=imagefolder", "data.root=nowhere"], "folder nowhere does not exist"),
        (["data=parquet", "data.root=nowhere"], "no file matches nowhere/train"),
        (["teacher.checkpoint=README.md"], "README.md is no file that torch.save wrote"),
        (["kd=dml", "kd.generations=2"], "kd.peers and kd.generations cannot be combined"),
        (["kd=none", "kd.assistants=[resnet14]"], "kd.assistants needs a term that students learn from"),
        (["kd=ft", "kd.terms.ft.pretraining.epochs=0"], "kd.terms.ft.pretraining.epochs must be a whole number"),
        (
            ["kd=dkd", "kd.terms.dkd.loss.bta=3"],
            "there is no key 'kd.terms.dkd.loss.bta'; keys in kd.terms.dkd.loss: did you mean 'beta'?",
        ),
        (["kd=combined", "kd.terms.fitnet.stdent=1"], "keys in kd.terms.fitnet: did you mean 'student'"),
    ],
)
def test_mistakes_in_several_arguments(arguments, found, tmp_path):
    done = command(*arguments, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert found in done.stderr


def test_one_class_folder_is_too_few(tmp_path):
    (tmp_path / "images/cat").mkdir(parents=True)
    done = command("data=imagefolder", f"data.root={tmp_path}/images", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 1
    assert "images holds one class folder only (cat): at least 2 are needed" in done.stderr


def test_a_typo_in_an_experiment_file(tmp_path):
    for i, (text, found) in enumerate(
        [
            (
                "trainer: {max_epoch: 3}",
                "there is no key 'trainer.max_epoch'; keys in trainer: did you mean 'max_epochs'",
            ),
            ("kd: {terms: {kd: {wieght: 3}}}", "did you mean 'weight'"),
            ("model: {widht: 3}", "model: distill.models.resnet8 takes no 'widht'"),
            ("sede: 3", "there is no key 'sede'"),
        ]
    ):
        folder = tmp_path / str(i) / "experiment"
        folder.mkdir(parents=True)
        (folder / "mine.yaml").write_text(f"# @package _global_\n{text}\n")
        done = command("--config-dir", folder.parent, "experiment=mine", f"hydra.run.dir={tmp_path}/run")
        assert done.returncode == 1, text
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert found in done.stderr, done.stderr


def test_a_hidden_file_is_said(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "resnet8.yaml").write_text("_target_: mine.Net\n")
    done = command("--config-dir", tmp_path, "--cfg", "job")
    assert "resnet8.yaml is hidden by the built-in resnet8.yaml; give it another name" in done.stderr
    assert "distill.models.resnet8" in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["kd.T=0"], ["model=resnt8"], ["kd.TT=1"]])
def test_start_up_is_quick_and_imports_nothing_heavy(arguments, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command(*arguments, f"hydra.run.dir={tmp_path}/run", PYTHONPROFILEIMPORTTIME="1")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "hydra" in imported
    assert not imported & {"torch", "lightning", "torchvision", "numpy", "sklearn", "torchmetrics"}
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.5  # CPU time, profiled imports


def test_tracebacks_when_asked_for(tmp_path):
    done = command("kd.T=0", f"hydra.run.dir={tmp_path}/run", HYDRA_FULL_ERROR="1")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "UserError: kd.T must be above 0" in done.stderr


def test_help_names_groups_and_keys():
    shown = command("--help").stdout
    for word in ("model:", "teacher:", "resnet8", "kd:", "alpha weighs the hard loss", "max_epochs"):
        assert word in shown


def test_the_teacher_has_the_models_choices():
    teachers = re.search(r"^teacher: (.*)$", command("--help").stdout, re.MULTILINE).group(1).split(", ")
    assert teachers == sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
    shown = command("teacher=vgg13", "--cfg", "job", "--package", "teacher").stdout
    assert "_target_: distill.models.vgg13" in shown


def test_a_model_of_the_users_own_is_a_teacher_too(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: mine.Net\n")
    own = f"--config-dir={tmp_path}"
    assert "_target_: mine.Net" in command(own, "teacher=mine", "--cfg", "job", "--package", "teacher").stdout
    wrong = command(own, "teacher=mime").stderr
    assert wrong.startswith("error: teacher has no option 'mime'; did you mean 'mine'"), wrong
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "mine.yaml").write_text("_target_: mine.Teacher\n")  # of the two, the teacher's
    assert "_target_: mine.Teacher" in command(own, "teacher=mine", "--cfg", "job", "--package", "teacher").stdout


def test_the_heavy_imports_are_left_alone_by_the_garbage_collector(monkeypatch):
    with job.importing():  # torch is there already: nothing to do
        assert gc.isenabled()
    monkeypatch.delitem(sys.modules, "torch")
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    try:
        with pytest.raises(ZeroDivisionError), job.importing():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled()
        assert gc.get_freeze_count() > 10_000
    finally:
        (thaw,) = at_exit
        thaw()
    assert not gc.get_freeze_count()
