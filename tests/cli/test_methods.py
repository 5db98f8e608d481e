"""Every option of the group kd: listed, documented, trained on real digits from its command line."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.methods import table
from distill.cli.methods import Options, methods, show
from distill.training.prepare import prepare
from distill.utils.errors import UserError
from jobs import ROOT, TINY, command, composed, run_job

QUICK = TINY[1:]
LOGITS = ("kd", "dkd", "dist", "nkd", "ttm", "wttm", "mlkd", "reverse_kl", "jsd", "skew_kl", "tvd", "logit_mse")
FEATURES = ("fitnet", "at", "fsp", "nst", "ab", "ft", "vid", "ofd", "reviewkd", "simkd")
RELATIONS = ("rkd", "pkt", "sp", "cc", "crd", "ickd", "margin_mse")
TOKENS = ("hidden", "pkd", "minilm", "cwd")  # of transformers, and of segmenters
FLOWS = ("tfkd", "ban", "dml", "takd", "multi_teacher")
ALONE = ("none", "tfkd", "dml")
OTHERS = {"multi_teacher": ["kd.teachers=[wrn_16_1]"]}  # the default is the teacher of these tests


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


def test_every_method_has_its_name():
    assert {*LOGITS, *FEATURES, *RELATIONS, *TOKENS, *FLOWS} <= set(methods())


def weighted(kd, train):
    """α · hard + Σ weight · (1 − α, where the term is soft) · part, of all students that learn."""
    hard, soft = (1, 1) if kd["alpha"] is None else (kd["alpha"], 1 - kd["alpha"])
    total = 0.0
    for who in ("", *(f"peer_{i}_" for i in range(1, len(kd["peers"] or []) + 1))):
        total += hard * train[f"{who}hard"]
        for name, term in kd["terms"].items():
            if term["weight"]:
                total += (
                    term["weight"]
                    * (soft if name in (*LOGITS, "tfkd", "output", "margin_mse") else 1)
                    * train[who + name]
                )
    return total


@pytest.mark.slow
@pytest.mark.parametrize("kd", sorted(set(methods()) - {*TOKENS}))
def test_every_method_trains(folder, kd):
    report = run_job(folder / kd, *QUICK, f"kd={kd}", "model=resnet8", "teacher=resnet14", *OTHERS.get(kd, []))
    assert ("teacher" in report) == (kd not in ALONE)
    student = report["student"]
    train = student["train"]
    assert math.isfinite(train["loss"])
    terms = {n for n, t in report["config"]["kd"]["terms"].items() if t["weight"] != 0}
    assert terms <= set(train)
    assert all(math.isfinite(train[name]) for name in terms)
    node = report["config"]["kd"]
    if all(isinstance(term["weight"], float) for term in node["terms"].values()):
        assert train["loss"] == pytest.approx(weighted(node, train), rel=1e-4)
    for name, term in node["terms"].items():
        if term["pretraining"]:
            metrics = json.loads((folder / kd / f"pretraining/{name}/finished.json").read_text())["metrics"]
            assert math.isfinite(metrics[f"train/{name}"])
            assert all(math.isfinite(value) for value in metrics.values())
    assert 0 < student["last"]["test"]["acc"] <= 1
    weights = load_file(folder / kd / "student.safetensors")
    assert not any(key.startswith(("criterion", "losses")) for key in weights)


def rehearsed(folder, *overrides):
    """Every object of the job, each term evaluated once on real samples."""
    return prepare(composed("threads=1", "trainer.accelerator=cpu", "data.subset=100", *overrides), folder)


@pytest.mark.parametrize("kd", sorted(set(methods()) - {"none", "fsp", *TOKENS}))
def test_every_method_takes_a_pair_of_two_families(tmp_path, kd):
    made = rehearsed(
        tmp_path, f"kd={kd}", "model=mobilenetv2", "teacher=resnet14", "data.image_size=32", *OTHERS.get(kd, [])
    )
    assert made.stages[-1].criterion.terms


@pytest.mark.parametrize(
    "kd", ["fitnet", "at", "nst", "vid", "ab", "ofd", "reviewkd", "sp", "rkd", "crd", "ft", "ickd"]
)
@pytest.mark.parametrize("side", ["teacher", "model"])
def test_every_method_takes_a_transformer(tmp_path, kd, side):
    made = rehearsed(tmp_path, f"kd={kd}", *vit(side, 24), "data.image_size=32")
    assert made.stages[-1].criterion.terms


def vit(side, embed_dim):
    """Overrides for a small transformer of timm."""
    small = (f"+{side}.{key}" for key in ("depth=3", f"embed_dim={embed_dim}", "num_heads=2", "patch_size=4"))
    return [f"{side}=timm", f"{side}.name=vit_tiny_patch16_224", *small]


def test_hidden_states_of_two_transformers_and_of_nothing_else(tmp_path):
    made = rehearsed(tmp_path, "kd=pkd", *vit("model", 16), *vit("teacher", 24), "data.image_size=32")
    assert sum(p.numel() for p in made.stages[-1].criterion.parameters()) == 3 * (16 * 24 + 24)  # a layer each
    with pytest.raises(UserError, match=r"term 'pkd': .* must have shape \(N, L, D\), tokens of a transformer, got"):
        rehearsed(tmp_path, "kd=pkd", "model=resnet8", "teacher=resnet14")


@pytest.mark.parametrize("kd", ["kd", "at", "rkd"])
def test_methods_of_each_kind_in_half_precision(folder, kd):
    report = run_job(folder / f"{kd}-bf16", *QUICK, f"kd={kd}", "trainer.precision=bf16-mixed", "teacher=resnet14")
    assert math.isfinite(report["student"]["train"]["loss"])


def test_methods_are_listed_quickly_with_a_line_each(capsys):
    show(Options())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(methods())
    assert all(line.split()[0] in methods() and len(line) > 30 for line in lines)


def test_methods_of_ones_own_are_listed_too(tmp_path, capsys):
    (tmp_path / "kd").mkdir()
    (tmp_path / "kd" / "mine.yaml").write_text("# My method.\ndefaults: [kd]\n")
    show(Options(config_dir=str(tmp_path)))
    listed = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert listed["mine"] == "My method."
    assert listed.keys() == {"mine", *methods()}
    with pytest.raises(UserError, match="config_dir: there is no folder nowhere"):
        methods("nowhere")


@pytest.mark.slow
def test_the_documented_table_is_the_generated_one():
    torch.manual_seed(0)
    assert table() in (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_standardisation_of_any_logit_loss(folder):
    plain = run_job(folder / "plain", *QUICK, "teacher=resnet14", "kd=dkd")
    standard = run_job(folder / "standard", *QUICK, "teacher=resnet14", "kd=dkd", "kd.standardize=true")
    assert plain["student"]["train"]["dkd"] != standard["student"]["train"]["dkd"]


@pytest.mark.slow
def test_a_schedule_from_the_command_line(tmp_path):
    done = command("teacher=resnet14", *TINY, "logger=csv", "kd.T={schedule:linear,start:8,end:2}",
                   "kd.alpha={schedule:cosine,start:1,end:0}", f"hydra.run.dir={tmp_path}/run",
                   f"teachers_dir={tmp_path}/teachers")  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "run" / "csv" / "version_0" / "metrics.csv").read_text()
    header, *rows = [line.split(",") for line in text.splitlines()]
    seen = {n: [r[header.index(n)] for r in rows if r[header.index(n)]] for n in ("schedule/kd.T", "schedule/alpha")}
    assert [float(v) for v in seen["schedule/kd.T"]] == [8.0, 2.0]
    assert [float(v) for v in seen["schedule/alpha"]] == [1.0, 0.0]
