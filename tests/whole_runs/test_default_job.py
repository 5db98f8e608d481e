"""``python train.py`` as it is, and what it leaves."""

import json
import resource

import pytest
import torch
from safetensors.torch import load_file

from distill.data import ImageDataModule
from distill.data.sources import digits
from distill.models import resnet8
from jobs import command

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = command("trainer.accelerator=cpu", cwd=place)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stderr
    folder = next(place.glob("outputs/2*/*"))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return folder, json.loads((folder / "summary.json").read_text()), run.stdout, seconds


def test_accuracy_and_time(done):
    _, report, _, seconds = done
    assert report["teacher"]["test"]["acc"] >= 0.97
    assert report["student"]["last"]["test"]["acc"] >= 0.95
    assert seconds < 90  # of CPU, imports included: on shared cores the clock says nothing


def test_what_is_shown(done):
    _, report, shown, _ = done
    assert f"{100 * report['student']['last']['test']['acc']:.2f} %" in shown
    assert "3.50 x smaller" in shown
    assert "results: outputs/" in shown


def test_what_is_kept(done):
    folder, report, _, _ = done
    names = {"config.yaml", "command.yaml", "summary.json", "student.safetensors", "checkpoints", "csv", "tensorboard"}
    assert names <= {path.name for path in folder.iterdir()}
    assert list((folder / "tensorboard").rglob("events.out.tfevents*"))
    for split in ("val", "test"):
        assert {"loss", "hard", "kd", "acc", "top5", "agreement"} == set(report["student"]["last"][split])
    ratios = {"score_relative_to_teacher", "parameters", "macs", "bytes", "latency", "throughput"}
    assert set(report["ratios"]) == ratios
    checksum = (folder / "student.safetensors").stat().st_size - report["student"]["bytes"]
    assert 0 < checksum < 100  # in the file's metadata, which the size of the weights leaves out
    assert report["hardware"]["cores"] >= 1


def test_last_and_best_are_apart(done):
    folder, report, _, _ = done
    rows = [line.split(",") for line in (folder / "csv" / "version_0" / "metrics.csv").read_text().splitlines()]
    column, epoch = rows[0].index("val/acc"), rows[0].index("epoch")
    curve = {int(row[epoch]) + 1: float(row[column]) for row in rows[1:] if row[column]}
    best, last = report["student"]["best"], report["student"]["last"]
    assert last["epoch"] == 20 == max(curve)
    assert best["epoch"] == max(e for e, acc in curve.items() if acc == max(curve.values()))
    if best["epoch"] == last["epoch"]:  # not so where this was written: epoch 14 of 20
        pytest.skip("on this machine's arithmetic the last epoch is the best, and the two cannot be told apart")
    data = ImageDataModule.from_options(digits, batch_size=64, augment={"crop_padding": 1})
    for entry, checkpoint in ((last, "last.ckpt"), (best, "best.ckpt")):
        weights = load_file(folder / entry["weights"])
        state = torch.load(folder / "checkpoints" / checkpoint, weights_only=True)["state_dict"]
        assert all(torch.equal(value, state[f"student.{key}"]) for key, value in weights.items())
        model = resnet8(10, 1).eval()
        model.load_state_dict(weights)
        with torch.no_grad():
            right = torch.cat([model(b.inputs).argmax(1) == b.target for b in data.test_dataloader()])
        assert entry["test"]["acc"] == pytest.approx(right.float().mean().item())
    a, b = (load_file(folder / entry["weights"]) for entry in (last, best))
    assert any(not torch.equal(value, b[key]) for key, value in a.items())
