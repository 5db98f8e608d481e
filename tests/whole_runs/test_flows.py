"""Flows: pretraining stages, chains, several teachers, students of each other; whole runs on real digits."""

import json

import pytest
import torch
from lightning.pytorch import Trainer
from safetensors.torch import load_file

from distill.losses import bn_margin
from distill.utils.errors import Interrupted, UserError
from jobs import STOPPING, TINY, command, run_job, stop_at
from weights import equal, watch, weights, weights_of_checkpoint

pytestmark = pytest.mark.slow
QUICK = (*TINY[1:], "teacher=resnet14")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


# Preparations


# Chains


@pytest.fixture(scope="module")
def chain(root):
    return run_job(root / "takd", *QUICK, "kd=takd", "teacher=resnet20", "kd.assistants=[resnet14,wrn_16_1]")


def test_assistants_stand_between_teacher_and_student(root, chain):
    assert [chain[r]["name"] for r in ("teacher", "assistant_1", "assistant_2", "student")] == [
        "resnet20", "resnet14", "wrn_16_1", "resnet8",
    ]  # fmt: skip
    for role in ("assistant_1", "assistant_2"):
        assert (root / "takd" / role / "student.safetensors").is_file()
        assert 0 < chain[role]["last"]["test"]["acc"] <= 1
    assert chain["ratios"]["parameters"] == pytest.approx(
        chain["teacher"]["parameters"] / chain["student"]["parameters"]
    )


@pytest.fixture(scope="module")
def ban(root):
    """Three generations: (role, teacher, student) of each, and the students' weights as their trainings start."""
    from distill.training.pipeline import _teacher_of

    run_job(root / "warm-ban", *QUICK, "only=teacher")
    taught = []

    def noted(stage, settings):
        teacher = _teacher_of(stage, settings)
        taught.append((str(stage.role), teacher.model, stage.student.model))
        return teacher

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distill.training.pipeline._teacher_of", noted)
        seen = watch(patch)
        run_job(root / "ban", *QUICK, "kd=ban", "kd.generations=3", "trainer.max_epochs=1")
    return taught, [state for _, state in seen[::2]]


def test_each_student_agrees_with_the_one_that_taught_it(ban):
    taught, _ = ban
    assert [role for role, _, _ in taught] == ["generation_1", "generation_2", "student"]
    assert taught[1][1] is taught[0][2]
    assert taught[2][1] is taught[1][2]
    assert not any(p.requires_grad for p in taught[2][1].parameters())


def test_generations_start_from_weights_of_their_own(root, ban):
    """Before any step: what was learnt would differ anyway. The last one starts as the student would alone."""
    _, (first, second, third) = ban
    for one, other in ((first, second), (first, third), (second, third)):
        assert not torch.equal(one["fc.weight"], other["fc.weight"])
    with pytest.MonkeyPatch.context() as patch:
        seen = watch(patch)
        run_job(root / "ban-alone", *QUICK, "kd=none", "trainer.max_epochs=1")
    assert equal(third, seen[0][1])


def test_each_generation_is_calibrated_to_its_own_teacher(root):
    report = run_job(root / "ofd-ban", *QUICK, "kd=[ofd,ban]", "kd.generations=2", "trainer.max_epochs=1")
    for folder, teacher, block in (
        (root / "ofd-ban/generation_1", load_file(report["teacher"]["path"]), 1),
        (root / "ofd-ban", weights(root / "ofd-ban/generation_1"), 0),
    ):
        found = weights_of_checkpoint(folder)
        for i in range(3):
            bias, weight = (teacher[f"layer{i + 1}.{block}.bn2.{name}"] for name in ("bias", "weight"))
            margin = found[f"criterion.losses.ofd.0.margin{i}"]
            torch.testing.assert_close(margin, bn_margin(bias, weight)[:, None, None])


def test_one_generation_is_plain_distillation(root):
    run_job(root / "one", *QUICK, "kd=ban", "kd.generations=1")
    run_job(root / "plain", *QUICK, "kd=kd", "kd.alpha=null", "kd.T=1")
    assert equal(weights(root / "one"), weights(root / "plain"))


def test_a_chain_stopped_in_its_middle_continues(root, chain, monkeypatch):
    folder, run = root / "takd-stopped", (*QUICK, "kd=takd", "teacher=resnet20", "kd.assistants=[resnet14,wrn_16_1]")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 3, lambda path: "assistant_2" in path.parts)
        run_job(folder, *run)
    run_job(folder, *run, f"resume={folder}")
    assert equal(weights(root / "takd"), weights(folder))


def noted_trainings(monkeypatch):
    """The folder and step of every training as it starts, and every test."""
    seen = []
    fit, test = Trainer.fit, Trainer.test

    def noted_fit(self, *args, **settings):
        seen.append(self.checkpoint_callbacks[0].dirpath)
        fit(self, *args, **settings)

    def noted_test(self, *args, **settings):
        seen.append("test")
        return test(self, *args, **settings)

    monkeypatch.setattr(Trainer, "fit", noted_fit)
    monkeypatch.setattr(Trainer, "test", noted_test)
    return seen


def test_no_student_is_tested_before_the_last_training(root, monkeypatch):
    run_job(root / "warm20", *QUICK, "teacher=resnet20", "only=teacher")
    seen = noted_trainings(monkeypatch)
    run_job(root / "takd-order", *QUICK, "kd=takd", "teacher=resnet20", "kd.assistants=[resnet14]")
    assert [str(where) for where in seen[:2]] == [
        str(root / "takd-order" / "assistant_1" / "checkpoints"), str(root / "takd-order" / "checkpoints")
    ]  # fmt: skip
    assert len(seen) > 3
    assert set(seen[2:]) == {"test"}


def test_finished_steps_of_a_chain_are_not_trained_again(root, monkeypatch):
    """A step that stopped early has epochs left, and is finished all the same."""
    run = (*QUICK, "kd=ban", "kd.generations=2", "trainer.max_epochs=3", *STOPPING)
    folder = root / "ban-stopped"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 5, lambda path: "generation_1" not in path.parts)
        run_job(folder, *run)
    assert json.loads((folder / "generation_1/finished.json").read_text())["epoch"] == 2
    first = weights_of_checkpoint(folder / "generation_1")
    seen = noted_trainings(monkeypatch)
    run_job(folder, *run, f"resume={folder}")
    assert [str(path) for path in seen if path != "test"] == [str(folder / "checkpoints")]
    assert equal(first, weights_of_checkpoint(folder / "generation_1"))


# Several teachers


def test_several_teachers(root):
    report = run_job(root / "several", *QUICK, "kd=multi_teacher", "kd.teachers=[wrn_16_1]")
    assert (report["teacher"]["name"], report["teacher_2"]["name"]) == ("resnet14", "wrn_16_1")
    assert 0 < report["teacher_2"]["test"]["acc"] <= 1
    again = run_job(
        root / "confident", *QUICK, "kd=multi_teacher", "kd.teachers=[wrn_16_1]",
        "kd.ensemble._target_=distill.distillation.ensemble.ConfidenceMean",
    )  # fmt: skip
    assert again["teacher_2"]["origin"] == "found"
    assert not equal(weights(root / "several"), weights(root / "confident"))
    kept = report["teacher_2"]["path"]
    loaded = run_job(
        root / "loaded", *QUICK, "kd=multi_teacher", f"kd.teachers=[{{model:wrn_16_1,checkpoint:'{kept}'}}]"
    )
    assert loaded["teacher_2"]["origin"] == "checkpoint"
    assert equal(weights(root / "several"), weights(root / "loaded"))


def test_one_teacher_twice_is_one_teacher(root):
    """The mean of equal answers is the answer."""
    kept = run_job(root / "once", *QUICK, "kd=kd", "trainer.max_epochs=1")["teacher"]["path"]
    again = f"kd.teachers=[{{model:resnet14,checkpoint:'{kept}'}}]"
    run_job(root / "twice", *QUICK, "kd=multi_teacher", again, "trainer.max_epochs=1")
    for key, value in weights(root / "once").items():
        torch.testing.assert_close(weights(root / "twice")[key], value, atol=1e-3, rtol=1e-3)


# Students of each other


def test_students_that_teach_each_other(root):
    report = run_job(root / "dml", *QUICK, "kd=dml", "kd.peers=[resnet14,wrn_16_1]")
    assert [report[r]["name"] for r in ("student", "peer_1", "peer_2")] == ["resnet8", "resnet14", "wrn_16_1"]
    assert "teacher" not in report
    assert report["ratios"] is None
    assert {"kd", "peer_1_kd", "peer_2_kd", "agreement"} <= set(report["student"]["train"])
    for i in (1, 2):
        assert (root / "dml" / f"peer_{i}.safetensors").is_file()


@pytest.fixture(scope="module")
def pair(root):
    run_job(root / "pair", *QUICK, "kd=dml")
    return root / "pair"


def test_a_stopped_mutual_run_continues(root, pair, monkeypatch):
    folder = root / "pair-stopped"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 5, lambda path: True)
        run_job(folder, *QUICK, "kd=dml")
    run_job(folder, *QUICK, "kd=dml", f"resume={folder}")
    for name in ("student.safetensors", "peer_1.safetensors"):
        assert equal(weights(pair, name), weights(folder, name))


def test_a_peer_is_no_copy_of_the_student(pair):
    """With the same weights at the start, all steps would be the same."""
    assert not equal(weights(pair), weights(pair, "peer_1.safetensors"))


# SimKD


# Memory banks


# Mistakes


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kd=fsp", "model=vgg8"], r"term 'fsp': .*\(4, 64, 8, 8\) \(student\) and \(4, 16, 8, 8\) \(teacher\)"),
        (["kd=simkd", "teacher=wrn_16_1"], "kd.student_wrapper: "),
        (["kd=[ofd,dml]"], "'ofd' needs a finished teacher"),
        (
            ["kd=multi_teacher", "kd.teachers=[wrn_16_1]", "kd.ensemble=null"],
            "kd.ensemble does not say how they are combined",
        ),
        (
            ["kd=multi_teacher", "kd.teachers=[wrn_16_1]", "+kd.ensemble.weights=[1,2,3]"],
            "kd.ensemble.weights must be one per teacher, 2",
        ),
        (["kd=multi_teacher"], "kd.teachers.0 is a teacher that is there already"),
        (
            ["kd=multi_teacher", "kd.teachers=[{model:wrn_16_1,recipe:{seeds:1}}]"],
            "kd.teachers.0.recipe has no 'seeds'",
        ),
        (
            ["kd=multi_teacher", "kd.teachers=[{model:wrn_16_1,checkpoint:no.pt}]"],
            "kd.teachers.0.checkpoint: no.pt does",
        ),
        (
            ["kd=rkd", "data.batch_size=64", "kd.terms.rkd.loss.max_samples=32"],
            r"'rkd' takes at most 32 .*64",
        ),
        (["kd=dkd", "data.augment.mixup=0.2"], r"term 'dkd' needs one label per sample, .*\(mixup=0.2\) mixes two"),
        (["kd=ft", "kd.terms.ft.pretraining=null"], "term 'ft' needs a first phase: kd.terms.ft.pretraining="),
        (["kd=ab", "kd.terms.ab.pretraining=3"], "kd.terms.ab.pretraining must be"),
        (["kd=takd", "~kd.terms.kd"], "kd.assistants needs a term"),
        (["kd=at", "+kd.teachers=[wrn_16_1]"], "kd.teachers needs a term that reads the teacher's outputs"),
        (["kd=rkd", "kd.standardize=true"], "kd.standardize=true .* and no term reads both"),
        (["kd=at", "kd.terms.at.student=1", "kd.terms.at.teacher=fc"], r"term 'at'.*\(4, 10\)"),
    ],
)
def test_mistakes_that_need_the_code_come_before_training(tmp_path, overrides, message):
    with pytest.raises(UserError, match=message):
        run_job(tmp_path / "run", *QUICK, *overrides)
    assert not list(tmp_path.glob("teachers/*/checkpoints"))


def test_the_same_sweep_again_runs_what_is_missing(tmp_path):
    sweep = ("-m", *TINY, "logger=none", "kd=none,tfkd", f"hydra.sweep.dir={tmp_path}/sweep",
             "hydra.sweep.subdir=${hydra:runtime.choices.kd}")  # fmt: skip
    assert command(*sweep).returncode == 0
    first = json.loads((tmp_path / "sweep/none/summary.json").read_text())
    (tmp_path / "sweep/tfkd/summary.json").unlink()
    again = command(*sweep)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "sweep/tfkd/summary.json").is_file()
    assert json.loads((tmp_path / "sweep/none/summary.json").read_text()) == first
    other = command(*sweep, "optimizer.lr=0.3")
    assert other.returncode == 1
    assert "holds another run: optimizer.lr was" in other.stderr
