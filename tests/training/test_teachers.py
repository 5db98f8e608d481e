"""A run's teachers: what shapes them, where they come from, what is refused."""

import pytest

from distill.models import resnet20
from distill.utils.errors import UserError
from jobs import TINY, composed, run_job
from weights import equal

QUICK = TINY[1:]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "first"
    return folder, run_job(folder, *QUICK)


def test_another_recipe_is_another_teacher(done):
    folder, _ = done
    run_job(folder.parent / "more", *QUICK, "teacher.recipe.seed=1", "trainer.max_epochs=1")
    assert len([p for p in (folder.parent / "teachers").iterdir() if p.is_dir()]) == 2


@pytest.mark.parametrize(
    "change",
    [
        "+trainer.min_epochs=2",
        "+trainer.gradient_clip_algorithm=value",
        "trainer.accumulate_grad_batches=2",
        "callbacks=early_stopping",
        "data.augment.crop_padding=2",
        "data.split_seed=1",
        "trainer.precision=bf16-mixed",
        "trainer.limit_train_batches=2",
        "teacher.recipe.max_epochs=5",
        "teacher.recipe.label_smoothing=0.1",
        "teacher.recipe.gradient_clip_val=1",
        "teacher.recipe.seed=1",
        "scheduler@teacher.recipe.scheduler=cosine",
        "teacher.recipe.optimizer.lr=0.01",
        "teacher.recipe.batch_size=32",
        "teacher=resnet14",
    ],
)
def test_what_shapes_a_teacher_is_in_its_fingerprint(tmp_path, change):
    from distill.training.prepare import prepare

    def folder(*overrides):
        return prepare(composed(*QUICK, "threads=1", *overrides), tmp_path).teachers[0].source.folder

    assert folder() != folder(change)
    same = (
        "trainer.max_epochs=9",
        "seed=3",
        "optimizer.lr=0.5",
        "model=resnet14",
        "teacher=resnet20",
        "kd.T=9",
        "trainer.log_every_n_steps=1",
    )
    assert folder() == folder(*same)


def test_a_users_class_is_in_the_fingerprint_with_its_code(tmp_path, monkeypatch):
    from distill.training.prepare import prepare

    monkeypatch.syspath_prepend(tmp_path)
    code = "from distill.models import resnet8\ndef net(num_classes):\n    return resnet8(num_classes, 1)\n"
    (tmp_path / "their_net.py").write_text(code)

    def folder():
        return (
            prepare(composed(*QUICK, "threads=1", "teacher._target_=their_net.net"), tmp_path).teachers[0].source.folder
        )

    before = folder()
    assert folder() == before
    (tmp_path / "their_net.py").write_text(code + "# changed\n")
    assert folder() != before


def test_the_teacher_is_bit_identical_through_the_whole_job(tmp_path, monkeypatch):
    import distill.training.pipeline as room

    seen = {}
    frozen = room._frozen

    def keep(net, criterion, **options):
        seen["model"], seen["before"] = net.model, {k: v.clone() for k, v in net.model.state_dict().items()}
        return frozen(net, criterion, **options)

    monkeypatch.setattr(room, "_frozen", keep)
    run_job(tmp_path / "run", *QUICK, "kd=combined")
    assert equal(seen["before"], seen["model"].state_dict())


def test_a_random_network_is_no_teacher(tmp_path):
    with pytest.raises(UserError, match="max_epochs=0 takes the teacher as it is, and this one is not pretrained"):
        run_job(tmp_path / "run", *QUICK, "teacher.recipe.max_epochs=0")


def test_the_teacher_alone(tmp_path):
    report = run_job(tmp_path / "run", *QUICK, "only=teacher")
    assert "student" not in report
    assert report["teacher"]["test"]["acc"] > 0
    kept = next(p for p in (tmp_path / "teachers").iterdir() if p.is_dir())
    assert (kept / "teacher.safetensors").is_file()


@pytest.mark.parametrize("file", ["checkpoints/last.ckpt", "student.safetensors", "checkpoints/best.ckpt"])
def test_a_run_of_ours_serves_as_teacher(done, file):
    folder, report = done
    name = f"from-{file.replace('/', '-')}"
    taught = run_job(
        folder.parent / name, *QUICK, "teacher=resnet8", f"teacher.checkpoint={folder / file}", "trainer.max_epochs=1"
    )
    assert taught["teacher"]["origin"] == "checkpoint"
    epoch = "best" if "best" in file else "last"
    assert taught["teacher"]["test"]["acc"] == pytest.approx(report["student"][epoch]["test"]["acc"])


def test_a_kept_teacher_that_changed_is_refused(tmp_path):
    run_job(tmp_path / "a", *QUICK, "only=teacher")
    kept = next(tmp_path.glob("teachers/*/teacher.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="is not the file that was written; delete .* to train it again"):
        run_job(tmp_path / "b", *QUICK, "only=teacher")


def test_a_wrong_checkpoint_is_an_error_before_training(done):
    folder, _ = done
    with pytest.raises(UserError, match="does not fit the teacher resnet20: missing keys"):
        run_job(folder.parent / "wrong", *QUICK, f"teacher.checkpoint={folder / 'student.safetensors'}")
    assert not (folder.parent / "wrong" / "checkpoints").exists()


def test_the_next_job_in_a_process_evaluates_its_teacher_no_more(tmp_path, monkeypatch):
    """A teacher's scores are of its weights and the data; where something else is tested, they are computed anew."""
    from distill.training import results

    evaluated = []
    evaluate = results.evaluate_on

    def note(module, job, data, split):
        evaluated.append((len(list(module.student.parameters())), split))
        return evaluate(module, job, data, split)

    monkeypatch.setattr(results, "evaluate_on", note)
    first = run_job(tmp_path / "a", *QUICK, "data.split_seed=5")
    teacher = len(list(resnet20(10).parameters()))
    assert [split for size, split in evaluated if size == teacher] == ["val", "test"]
    evaluated.clear()
    second = run_job(tmp_path / "b", *QUICK, "data.split_seed=5", "kd.T=1")
    assert teacher not in [size for size, _ in evaluated]
    assert all(second["teacher"][split] == first["teacher"][split] for split in ("val", "test"))
    assert second["student"]["latency_ms"] == first["student"]["latency_ms"]
    run_job(tmp_path / "c", *QUICK, "data.split_seed=5", "trainer.limit_test_batches=1")
    assert [split for size, split in evaluated if size == teacher] == ["val", "test"]
