"""The front of the command line: quick, and one line for every mistake."""

import atexit
import gc
import re
import resource
import sys

import pytest

from distill.cli import job
from distill.config import CONF
from jobs import command

MISTAKES = {
    "model=resnt8": r"model has no option 'resnt8'; did you mean 'resnet8'",
    "teacher=resnet21": r"teacher has no option 'resnet21'; did you mean .*'resnet20'",
    "kd=fitnets": r"kd has no option 'fitnets'; did you mean 'fitnet'",
    "kd=[dkd,spp]": r"kd has no option 'spp'; did you mean 'sp'",
    "modl=resnet8": r"there is no key 'modl'; did you mean model\?",
    "lr=0.1": r"there is no key 'lr'; did you mean optimizer.lr\?",
    "max_epoch=3": r"there is no key 'max_epoch'; did you mean trainer.max_epochs or teacher.recipe.max_epochs\?",
    "resnet8": r"'resnet8' is no key=value; did you mean model=resnet8\?",
    "kd.TT=3": r"there is no key 'kd.TT'; did you mean 'T'",
    "kd.terms.kd.wieght=3": r"there is no key 'kd.terms.kd.wieght'; did you mean 'weight'\? Allowed in kd.terms.kd: ",
    "+kd.terms.kd.loss.TT=3": r"kd.terms.kd.loss: distill.losses.KD takes no 'TT'; did you mean 'T'",
    "teacher.chekpoint=x.pt": r"there is no key 'teacher.chekpoint'; did you mean 'checkpoint'",
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
    "kd.terms.fitnet.weight=3": r"there is no key 'kd.terms.fitnet'; Allowed in kd.terms: kd",
    "kd.label_smoothing=1": r"kd.label_smoothing must be in \[0, 0.999\], got 1.0",
    "trainer.max_epochs=0": r"trainer.max_epochs must be at least 1, got 0",
    "trainer.max_epochs=1000000000000000": r"trainer.max_epochs must be at most 1,000,000, got 1000000000000000",
    "kd.generations=1000000": r"kd.generations must be at most 1,000, got 1000000",
    "data.image_size=1000000": r"data.image_size must be at most 16,384, got 1000000",
    "data.num_workers=100000": r"data.num_workers must be at most 1,024, got 100000",
    "threads=100000": r"threads must be at most 1,024, got 100000",
    "trainer.devices=100000": r"trainer.devices must be at most 1024, those of one machine, got 100000",
    "trainer.max_epochs=many": r"trainer.max_epochs must be a number at least 1, got 'many'",
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
    "data=csv": r"data=csv needs a CSV file, or the folder of train.csv: data.root=<file>",
    "data=parquet": r"data=parquet needs the folder of the images",
    "data=huggingface": r"data.source.name: Missing mandatory value",
    "kd.T=1,2": r"kd.T=1,2 are several values: -m runs a job for each .*; kd.T=\[1,2\] is a list",
    "hydra.sweeper.mx_batch_size=3": r"'hydra.sweeper.mx_batch_size'; did you mean 'max_batch_size'",
    "logger=null": r"logger has no option 'null'; Allowed: csv, .*none",
    "teacher=3": r"teacher has no option '3'; Allowed: .*resnet20",
    "=3": r"'=3' is no key=value",
    "kd.T =3": r"cannot read 'kd.T =3': ' ' cannot stand there; a value with such characters needs quotes",
    "kd.T=“4”": r"cannot read 'kd.T=“4”': '“' cannot stand there",
    "+kd.Tee=3": r"there is no key 'kd.Tee'; Allowed: alpha, T, ",
    "++kd.terms.kd.weigth=3": r"there is no key 'kd.terms.kd.weigth'; did you mean 'weight'",
    "++cache.enable=false": r"there is no key 'cache.enable'; did you mean 'enabled'",
    "++data.bath_size=3": r"there is no key 'data.bath_size'; did you mean 'batch_size'",
    "seed=range(0,1e12)": r"seed=range\(0,1e12\): a sweep of 1e\+12 jobs; at most 10000",
    "seed=range(0,inf)": r"seed=range\(0,inf\): a range has a finite start and stop",
    "seed=range(0,9,0)": r"seed=range\(0,9,0\): .* a step other than 0",
    "data.augment.flip=x": r"data.augment.flip: Value 'x' is not a valid bool",
    "data.augment.mixup=inf": r"data.augment.mixup must be a finite number, got inf",
    "optimizer.momentum=nan": r"optimizer.momentum must be a finite number, got nan",
    "+callbacks.best.save_top_k=nan": r"callbacks.best.save_top_k must be a finite number, got nan",
    "seed=4294967296": r"seed must be in \[0, .*, got 4294967296",
    "kd.alpha": r"'kd.alpha' is no key=value; kd.alpha=<value> is one",
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
        (["data=csv", "data.root=nowhere.csv"], "data.root: there is no CSV file or folder nowhere.csv"),
        (["data.label=age"], "data.label=age: the source of data=digits has no columns"),
        (["task=regression"], "the labels are classes (whole numbers, one per sample), and the task needs numbers"),
        (["data=parquet", "data.root=nowhere"], "no file matches nowhere/train"),
        (["teacher.checkpoint=README.md"], "README.md is no file that torch.save wrote"),
        (["kd=dml", "kd.generations=2"], "kd.peers and kd.generations cannot be combined"),
        (["kd=none", "kd.assistants=[resnet14]"], "kd.assistants needs a term that students learn from"),
        (["kd=ft", "kd.terms.ft.pretraining.epochs=0"], "kd.terms.ft.pretraining.epochs must be a whole number"),
        (
            ["kd=dkd", "kd.terms.dkd.loss.bta=3"],
            "there is no key 'kd.terms.dkd.loss.bta'; did you mean 'beta'?",
        ),
        (["kd=combined", "kd.terms.fitnet.stdent=1"], "did you mean 'student'"),
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
                "there is no key 'trainer.max_epoch'; did you mean 'max_epochs'",
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


HEADER = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{HEADER}kd:\n\tT: 3\n", r"mine.yaml, line 3, column 1: .*found character '\\t'"),
        (f"{HEADER}kd:\n  T: 3\n  T: 4\n", r"mine.yaml, line 4, column 3: .*found duplicate key T"),
        (f"{HEADER}kd: !!python/name:os.system\n", r"mine.yaml, line 2, column 5: could not determine a constructor"),
        (f"{HEADER}name: caf\xe9\n".encode("latin-1"), r"mine.yaml is no text in UTF-8"),
        (f"\ufeff{HEADER}kd: {{T: 3}}\n", r"the file that experiment= chooses must begin with the line '# @package"),
        ("kd: {T: 3}\n", r"the file that experiment= chooses must begin with the line '# @package _global_'"),
        ("", r"the file that experiment= chooses must begin with the line '# @package _global_'"),
    ],
)
def test_an_experiment_file_that_cannot_be_read(text, found, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "experiment/other.yaml.d").mkdir()
    done = command("--config-dir", tmp_path, "experiment=mine", f"hydra.run.dir={tmp_path}/run")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert re.match(f"error: .*{found}", lines[0]), lines[0]


def test_a_broken_file_that_is_not_chosen_does_no_harm(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(f"{HEADER}kd: {{T: 3}}\n")
    (tmp_path / "experiment/other.yaml").write_bytes(b"caf\xe9: [\n")
    done = command("--config-dir", tmp_path, "experiment=mine", "--cfg", "job")
    assert (done.returncode, "T: 3\n" in done.stdout) == (0, True)


def test_keys_of_ones_own_at_the_top_are_for_interpolations(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.md").touch()  # a folder that holds something else is not removed
    done = command("+name=mine", f"hydra.run.dir={tmp_path}/${{name}}", "kd.T=0")
    assert "kd.T must be above 0" in done.stderr
    assert (tmp_path / "mine" / "train.log").is_file()


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
    for word in ("model:", "teacher:", "resnet8", "kd:", "alpha weighs the hard loss", "trainer.max_epochs=null"):
        assert word in shown
    assert max(map(len, shown.splitlines()[3:])) <= 80


def test_the_teacher_has_the_models_choices():
    teachers = re.search(r"^  teacher: ([^:]*)$", command("--help").stdout, re.MULTILINE).group(1).split()
    teachers = [name.strip(",") for name in teachers]
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
