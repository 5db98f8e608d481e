"""The main job, whole, on real digits."""

import csv
import json
import sys

import pytest
import torch

from distill.config.schema import TrainConfig, TrainerConfig
from distill.data.sources import digits
from distill.utils.errors import UserError
from jobs import TINY, run_job
from summaries import kept
from weights import equal, weights

QUICK = TINY[1:]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "first"
    return folder, run_job(folder, *QUICK)


def test_what_a_run_leaves(done):
    folder, report = done
    assert json.loads((folder / "summary.json").read_text())["student"]["name"] == "resnet8"
    assert {"student.safetensors", "summary.json", "checkpoints", "csv"} <= {p.name for p in folder.iterdir()}
    assert {p.name for p in (folder / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert (report["teacher"]["origin"], report["teacher"]["name"]) == ("trained", "resnet20")
    assert 0 <= kept(report["student"])["test"]["agreement"] <= 1
    assert report["student"]["parameters"] == sum(
        v.numel() for k, v in weights(folder).items() if "running" not in k and "num_batches" not in k
    )
    assert report["ratios"]["parameters"] == pytest.approx(272186 / 77754)
    assert report["ratios"]["macs"] > 3
    assert (report["seed"], report["data"]["train"], report["data"]["test"]) == (0, 200, 359)
    assert report["versions"]["torch"] == torch.__version__
    assert report["config"]["kd"]["T"] == 4.0
    rows = list(csv.DictReader((folder / "csv" / "version_0" / "metrics.csv").read_text().splitlines()))
    assert {"train/loss", "train/hard", "train/kd", "val/acc", "val/agreement", "lr-SGD"} <= set(rows[0])


def test_reported_test_accuracy_is_that_of_the_kept_weights(done):
    from distill.data import ImageDataModule
    from distill.data.sources import digits
    from distill.models import resnet8

    folder, report = done
    model = resnet8(10, in_channels=1)
    model.load_state_dict(weights(folder))
    model.eval()
    data = ImageDataModule.from_options(digits, batch_size=64, subset=200, augment={"crop_padding": 1})
    with torch.no_grad():
        right = torch.cat([model(b.inputs).argmax(1) == b.target for b in data.test_dataloader()])
    assert kept(report["student"])["test"]["acc"] == pytest.approx(right.float().mean().item())


def test_same_seed_same_weights_bit_for_bit_and_the_teacher_is_found(done):
    folder, _ = done
    again = run_job(folder.parent / "again", *QUICK)
    assert again["teacher"]["origin"] == "found"
    assert equal(weights(folder), weights(folder.parent / "again"))
    other = run_job(folder.parent / "other", *QUICK, "seed=1")
    assert other["teacher"]["origin"] == "found"  # a teacher belongs to its recipe, not to the student's seed
    assert not equal(weights(folder), weights(folder.parent / "other"))


@pytest.mark.parametrize("kd", ["none", "fitnet", "rkd", "combined"])
def test_every_strategy_trains(done, kd):
    folder, _ = done
    report = run_job(folder.parent / kd, *QUICK, f"kd={kd}")
    named = {"none": [], "fitnet": ["fitnet"], "rkd": ["rkd"], "combined": ["kd", "fitnet", "rkd"]}[kd]
    assert set(named) <= set(report["student"]["train"])
    assert ("teacher" in report) == (kd != "none")
    assert (report["ratios"] is None) == (kd == "none")
    assert not any("adapter" in key for key in weights(folder.parent / kd))


def test_the_baseline_shares_initialisation_and_order(done, monkeypatch):
    """kd=none and kd=kd at α = 1 take the very same steps."""
    folder, _ = done
    run_job(folder.parent / "alone", *QUICK, "kd=none")
    run_job(folder.parent / "alpha1", *QUICK, "kd=kd", "kd.alpha=1")
    assert equal(weights(folder.parent / "alone"), weights(folder.parent / "alpha1"))


def test_the_test_split_is_touched_only_after_training(tmp_path, monkeypatch):
    monkeypatch.setattr("distill.training.results._scores", {})  # of jobs before in this process
    from distill.data import ImageDataModule
    from distill.training.module import DistillationModule

    events = []
    test_dataloader, validation_step = ImageDataModule.test_dataloader, DistillationModule.validation_step

    def watched(self):
        events.append("test split")
        return test_dataloader(self)

    def validated(self, batch, batch_idx):
        events.append(batch.index.tolist())
        return validation_step(self, batch, batch_idx)

    monkeypatch.setattr(ImageDataModule, "test_dataloader", watched)
    monkeypatch.setattr(DistillationModule, "validation_step", validated)
    monkeypatch.setattr(DistillationModule, "on_fit_end", lambda _: events.append("trained"))
    run_job(tmp_path / "run", *QUICK)
    assert events.count("trained") == 2  # teacher and student
    last = max(i for i, event in enumerate(events) if event == "trained")
    assert "test split" not in events[:last]
    assert 2 <= events[last:].count("test split") <= 3  # teacher, student, perhaps its best epoch
    monkeypatch.undo()
    data = ImageDataModule.from_options(digits, batch_size=64, subset=200, augment={"crop_padding": 1})
    tested = {int(i) for batch in data.test_dataloader() for i in batch.index}
    validated_on = {i for event in events if isinstance(event, list) for i in event}
    assert len(tested) == 359
    assert validated_on
    assert not tested & validated_on


def test_the_schedule_spans_the_run(tmp_path, monkeypatch):
    from distill.training.module import DistillationModule

    seen = []
    monkeypatch.setattr(
        DistillationModule, "on_train_end", lambda self: seen.append(self.lr_schedulers().total_steps), raising=False
    )
    run_job(tmp_path / "a", *QUICK, "kd=none")
    run_job(tmp_path / "b", *QUICK, "kd=none", "trainer.accumulate_grad_batches=3")
    run_job(tmp_path / "c", *QUICK, "kd=none", "trainer.limit_train_batches=2")
    assert seen == [2 * 4, 2 * 2, 2 * 2]  # 200 images in batches of 64: 4


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("vector", r"term 'mine' must give one number as a tensor without dimensions, got shape \(4,\)"),
        ("number", "term 'mine' must give one number as a tensor without dimensions, got float"),
        ("broken", "term 'mine' fails on a batch of 4: .*oh no"),
    ],
)
def test_a_term_that_cannot_work_is_found_before_training(tmp_path, monkeypatch, term, message):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"their_{term}.py").write_text(
        "def vector(student_logits):\n    return student_logits.sum(1)\n"
        "def number(student_logits):\n    return 1.0\n"
        "def broken(student_logits):\n    raise RuntimeError('oh no')\n"
    )
    (tmp_path / "kd").mkdir()
    (tmp_path / "kd" / "mine.yaml").write_text(
        f"terms: {{mine: {{loss: {{_target_: their_{term}.{term}, _partial_: true}}}}}}"
    )
    with pytest.raises(UserError, match=message):
        run_job(tmp_path / "run", *QUICK, "kd=mine", config_dirs=[tmp_path])
    assert not list(tmp_path.glob("teachers/*/checkpoints"))


def test_nan_names_the_term_and_the_step(tmp_path):
    with pytest.raises(UserError, match=r"loss term '\w+' is not finite \(NaN or infinite\) at step \d+"):
        run_job(tmp_path / "nan", *QUICK, "kd=none", "optimizer.lr=1e30", "scheduler=none")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+model.num_classes=7"], "model.num_classes=7 disagrees with the data, which have 10 classes"),
        (["data.num_classes=7"], "data.num_classes=7, but the data have 10 classes"),
        (
            ["kd=fitnet", "kd.terms.fitnet.student=layr2"],
            "the student resnet8 has no layer 'layr2': did you mean 'layer2'",
        ),
        (["kd=fitnet", "kd.terms.fitnet.teacher=7"], "the teacher resnet20 has no stage 7; its stages: 0 = relu"),
        (["trainer.accelerator=cuda"], "trainer.accelerator=cuda: no such device on this machine; there is: cpu"),
        (["kd.terms.kd.loss._target_=distill.losses.RKD"], "distill.losses.RKD takes no 'T'"),
        (["model._target_=nowhere.Net"], "model._target_: cannot import 'nowhere.Net'"),
        (["logger=wandb"], "logger=wandb needs wandb"),
        (["scheduler.pct_start=7"], "pct_start"),
    ],
)
def test_mistakes_that_need_the_code_come_before_training(tmp_path, overrides, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as where it is not installed
    if "cuda" in overrides[0] and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UserError, match=message):
        run_job(tmp_path / "run", *QUICK, *overrides)
    assert not list(tmp_path.glob("teachers/*/checkpoints"))


class Own(torch.nn.Module):
    """Prints the same whatever its size."""

    def __init__(self, width):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(64, width))

    def forward(self, x):
        return (x.flatten(1) @ self.weight).sum(1, keepdim=True)


def test_models_that_print_alike_are_measured_apart(monkeypatch):
    from types import SimpleNamespace

    from distill.training import results

    measured = []
    monkeypatch.setattr(results, "_measured_now", lambda nets, job: measured.append(1) or {role: {} for role in nets})
    data = SimpleNamespace(example=lambda n: torch.zeros(n, 1, 8, 8), batch_size=8)
    job = SimpleNamespace(data=data, precision="32-true", settings=TrainConfig(trainer=TrainerConfig()))
    for width in (2, 2, 3):
        results.measure({"student": SimpleNamespace(name="own", model=Own(width))}, job)
    assert len(measured) == 2
