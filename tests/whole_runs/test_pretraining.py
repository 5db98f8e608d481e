"""Pretraining stages in whole runs on real digits: what they train, what follows them, stopped and continued."""

import pytest
import torch

from distill.utils.errors import Interrupted
from jobs import STOPPING, TINY, run_job, stop_at
from weights import equal, watch, weights, weights_of_checkpoint

pytestmark = pytest.mark.slow
QUICK = (*TINY[1:], "teacher=resnet14")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


def test_a_paraphrasers_preparation_leaves_the_student_alone(root, monkeypatch, capsys):
    run_job(root / "warm", *QUICK, "only=teacher")
    seen = watch(monkeypatch)
    run_job(root / "ft", *QUICK, "kd=ft", "kd.terms.ft.pretraining.epochs=2")
    assert [phase for phase, _ in seen] == ["ft", "ft", None, None]
    assert equal(seen[0][1], seen[1][1])  # running statistics included
    assert equal(seen[1][1], seen[2][1])
    assert not equal(seen[2][1], seen[3][1])
    out = capsys.readouterr().out
    assert "pretraining of ft for student resnet8: 2 epochs" in out
    assert "\nepoch 2/2  " in out.partition("training pretraining of ft for student resnet8")[2]


def test_the_paraphraser_is_trained_first_and_fixed_then(root):
    run_job(root / "ft2", *QUICK, "kd=ft", "trainer.max_epochs=2")
    prepared = torch.load(root / "ft2/pretraining/ft/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    final = torch.load(root / "ft2/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    own = [k for k in final if ("encoder" in k or "decoder" in k) and final[k].is_floating_point()]
    assert own
    assert all(torch.equal(prepared[k], final[k]) for k in own)
    moved = [k for k in final if "translator" in k and k.endswith("weight")]
    assert moved
    assert any(not torch.equal(prepared[k], final[k]) for k in moved)


def test_the_main_phase_of_fsp_is_cross_entropy_from_prepared_weights(root, monkeypatch):
    run_job(root / "warm3", *QUICK, "only=teacher")
    seen = watch(monkeypatch)
    report = run_job(root / "fsp", *QUICK, "kd=fsp")
    assert [phase for phase, _ in seen] == ["fsp", "fsp", None, None]
    assert not equal(seen[0][1], seen[1][1])
    assert equal(seen[1][1], seen[2][1])
    train = report["student"]["train"]
    assert train["loss"] == pytest.approx(train["hard"], rel=1e-5)
    kept = run_job(root / "fsp-kept", *QUICK, "kd=fsp", "kd.terms.fsp.weight=1")["student"]["train"]
    assert kept["loss"] == pytest.approx(kept["hard"] + kept["fsp"], rel=1e-4)


@pytest.mark.parametrize(
    ("terms", "step", "where"),
    [
        ("ft", 2, "pretraining/ft"),
        ("ft", 6, "pretraining/ft"),
        ("ft", 6, "."),
        ("ab", 2, "pretraining/ab"),
        ("ab", 6, "pretraining/ab"),
        ("ab", 6, "."),
        ("ab,ft", 2, "pretraining/ft"),  # the second of two
        ("crd", 6, "."),  # its bank has a row per sample of the subset
    ],
)
def test_a_run_stopped_in_any_phase_ends_as_if_it_had_not_been(root, monkeypatch, terms, step, where):
    long = [f"kd.terms.{term}.pretraining.epochs=2" for term in terms.split(",") if term != "crd"]
    run = (*QUICK, f"kd=[{terms}]", *long)
    name = terms.replace(",", "-")
    whole = root / f"{name}-whole"
    if not (whole / "summary.json").exists():
        run_job(whole, *run)
    folder = root / f"{name}-stopped-{where.replace('/', '-')}-{step}"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, step, lambda path: path.parents[1] == folder / where)
        run_job(folder, *run)
    run_job(folder, *run, f"resume={folder}")
    assert equal(weights(whole), weights(folder))
    assert equal(weights_of_checkpoint(whole), weights_of_checkpoint(folder))  # paraphraser and bank included


def test_a_preparation_is_not_stopped_early(root, capsys):
    run_job(root / "ab-early", *QUICK, "kd=ab", "kd.terms.ab.pretraining.epochs=3", *STOPPING)
    assert "\nepoch 3/3  " in capsys.readouterr().out.partition("training pretraining of ab for student resnet8")[2]
