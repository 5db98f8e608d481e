"""Jobs on texts, whole: every task, two tokenizers, the cache, what is stopped, and several processes."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import distill
from jobs import ROOT, STOPPING, command, run_job
from text_jobs import write_texts

pytestmark = pytest.mark.slow
RATES = ("optimizer.lr=0.003", "teacher.recipe.optimizer.lr=0.003")
SHORT = (
    "trainer.max_epochs=4",
    "teacher.recipe.max_epochs=4",
    "data.batch_size=16",
    "threads=1",
    "logger=none",
    *RATES,
)
BERT = ("data=text", "teacher=hf", "teacher.name=bert")
REVIEWS = (*BERT, "data.root=reviews.jsonl", "model.layers=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def weights(folder):
    return load_file(folder / "student.safetensors")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_grid_runs_the_teacher_once(place):
    """Its answers for one epoch serve all epochs, points and seeds."""
    grid = ("-m", "kd.T=1,4", "kd.alpha=0,0.5", "seed=0,1", "hydra.sweep.dir=runs/grid", "teachers_dir=once")
    done = command(*REVIEWS, *SHORT, *grid, "cache.dir=one_cache", cwd=place)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(path.read_text()) for path in (place / "runs" / "grid").glob("*/summary.json")]
    assert sorted(run["teacher"]["origin"] for run in runs) == ["found"] * 7 + ["trained"]
    caches = [run["student"]["teacher_cache"][0] for run in runs]
    assert {cache["begun"] for cache in caches} == {1}
    assert sorted(cache["found"] for cache in caches) == [0] + [1] * 7
    assert len({cache["folder"] for cache in caches}) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "metric", "least"),
    [
        ("classes", "data.root=reviews.jsonl model.layers=2", "acc", 0.9),
        ("other-tokenizer", "data.root=reviews.jsonl model=hf model.name=other", "acc", 0.9),
        ("pairs", "data.root=pairs.tsv model.layers=2", "acc", 0.3),
        ("numbers", "data.root=length.csv task=regression model.layers=2", "pearson", 0.8),
        ("similarity", "data.root=similarity.tsv task=regression model.layers=2", "spearman", 0.5),
        ("labels", "data.root=tags.csv task=multilabel data.label=[sat,tree,slow] model.layers=2", "map", 0.7),
        (
            "tags-hidden",
            "task=tokens data.root=ner.conll model.layers=2 kd=[kd,hidden] kd.terms.hidden.weight=0.1",
            "f1",
            0.5,
        ),
        ("tags-minilm", "task=tokens data.root=ner.conll model=bert_tiny kd=[kd,minilm]", "f1", 0.9),
        ("pkd", "data.root=reviews.jsonl model.layers=2 kd=[reverse_kl,pkd]", "acc", 0.9),
    ],
)
def test_a_task(here, name, arguments, metric, least):
    longer = ("trainer.max_epochs=12", "teacher.recipe.max_epochs=12")
    report = run_job(here / "runs" / name, *BERT, *SHORT, *longer, *arguments.split())
    assert report["student"]["best"]["test"][metric] >= least


def test_embeddings_of_another_tokenizer_and_width(here):
    run = [word for word in SHORT if not word.startswith("teacher.recipe")]
    model = ("task=embedding", "data.root=texts.txt", "model=hf", "model.name=other", "kd=embedding")
    report = run_job(here / "runs" / "widths", *BERT, *run, *model, "trainer.max_epochs=12")
    assert report["student"]["best"]["test"]["spearman"] > 0.4


def test_a_student_of_a_trained_teacher_without_distillation_starts_from_it(here):
    """With all of its layers, and a rate at which nothing moves, it is the trained teacher."""
    still = ("kd=none", "model.layers=4", "optimizer.lr=1e-12", "optimizer.weight_decay=0", "trainer.max_epochs=1")
    report = run_job(here / "runs" / "start", *BERT, *SHORT, "data.root=reviews.jsonl", *still)
    teacher = load_file(report["teacher"]["path"])
    assert all(torch.allclose(value, teacher[name], atol=1e-6) for name, value in weights(here / "runs/start").items())


def test_the_same_seed_gives_the_same_bits(here):
    for name in ("one", "other", "third"):
        run_job(here / "runs" / name, *REVIEWS, *SHORT, f"seed={int(name == 'third')}")
    one, other, third = (weights(here / "runs" / name) for name in ("one", "other", "third"))
    assert_equal(one, other)
    assert any(not torch.equal(value, third[name]) for name, value in one.items())


def test_killed_in_mid_epoch_and_continued_it_ends_with_the_same_bits(place):
    run = (*REVIEWS, *SHORT, "trainer.max_epochs=6", "data.batch_size=4", "teachers_dir=killed")
    whole = command(*run, "hydra.run.dir=runs/whole", cwd=place)
    assert whole.returncode == 0, whole.stderr
    with subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *run, "hydra.run.dir=runs/killed"],
        cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        for line in process.stdout:
            if line.startswith("epoch 3/6"):
                break
        process.send_signal(signal.SIGKILL)
    folder = place / "runs" / "killed"
    assert not (folder / "summary.json").exists()
    again = command("resume=runs/killed", cwd=place)
    assert again.returncode == 0, again.stderr
    assert_equal(weights(place / "runs" / "whole"), weights(folder))


def test_two_processes_learn_what_one_does(place):
    """By SGD: Adam divides by the size of a gradient, and makes much of its rounding."""
    run = (*REVIEWS, *SHORT, "trainer.max_epochs=2", "trainer.accelerator=cpu", "trainer.precision=32-true",
           "optimizer=sgd", "optimizer.lr=0.02", "teachers_dir=of-both", "+model.hidden_dropout_prob=0",
           "+model.attention_probs_dropout_prob=0")  # fmt: skip
    for name, more in (("single", ()), ("ddp", ("trainer=ddp", "trainer.devices=2"))):
        done = command(*run, *more, f"hydra.run.dir=runs/{name}", cwd=place)
        assert done.returncode == 0, done.stderr
    one, two = (weights(place / "runs" / name) for name in ("single", "ddp"))
    assert max(float((value - two[name]).abs().max()) for name, value in one.items()) < 1e-4


def test_a_student_that_lives_with_int8(here):
    report = run_job(here / "runs" / "int8", *REVIEWS, *SHORT, "quantize=int8")
    assert report["student"]["best"]["int8"]["test"]["acc"] > 0.8


def test_early_stopping(here):
    report = run_job(here / "runs" / "stopped", *REVIEWS, *SHORT, *STOPPING)
    assert report["student"]["last"]["epoch"] == 2


def test_a_search_follows_the_tasks_score(place):
    search = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "optimizer.lr=tag(log,interval(1e-4,1e-2))")
    run = (*BERT, *SHORT, "task=regression", "data.root=length.csv", "model.layers=2", "trainer.max_epochs=1")
    done = command(*run, *search, "hydra.sweep.dir=runs/search", cwd=place)
    assert done.returncode == 0, done.stderr
    runs = {path.parent.name: json.loads(path.read_text()) for path in (place / "runs/search").glob("*/summary.json")}
    best = min(runs.values(), key=lambda run: run["student"]["best"]["val"]["rmse"])
    assert len(runs) == 2
    assert f"{best['config']['optimizer']['lr']:.4g}"[:5] in done.stdout


def test_from_python(here):
    summary = distill.train([*REVIEWS, *SHORT], output_dir="runs/python")
    assert summary.student.best.test["acc"] > 0.8


COMMANDS = re.findall(r"^python train\.py (.+)$", (ROOT / "docs" / "text.md").read_text(), re.MULTILINE)


@pytest.mark.parametrize("number", range(len(COMMANDS)))
def test_a_command_of_the_page(place, number):
    line = COMMANDS[number]
    arguments = shlex.split(line.replace("./minilm", "./bert"))
    short = [word for word in SHORT if "task=embedding" not in line or not word.startswith("teacher.recipe")]
    kind = "sweep" if "-m" in arguments else "run"
    done = command(*arguments, *short, "trainer.max_epochs=1", f"hydra.{kind}.dir=runs/page-{number}", cwd=place)
    assert done.returncode == 0, done.stderr
    summaries = list((place / "runs" / f"page-{number}").glob("**/summary.json"))
    assert len(summaries) == (4 if kind == "sweep" else 1)
    student = json.loads(summaries[0].read_text())["student"]
    assert kind == "sweep" or "kd=none" in line or student["teacher_cache"][0]["begun"] == 1  # epoch, of all
    assert "4 of 4 jobs finished" in done.stdout if kind == "sweep" else "results: " in done.stdout
