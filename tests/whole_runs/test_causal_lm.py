"""A language model's whole job: trained from a sparse cache, evaluated, continued, exported; refusals."""

import json
import os
import subprocess
import sys

import pytest
import torch

from distill.data.text.preprocess import TextPreprocess
from jobs import ROOT
from language_models import WORDS, save_llama, save_tokenizer, write_documents

pytestmark = pytest.mark.slow
JOB = (
    "data=text", "task=causal_lm", "data.root=docs.jsonl", "teacher=hf", "teacher.name=./llama", "model=from_teacher",
    "model.layers=2", "data.max_length=32", "trainer.max_epochs=2", "threads=1", "data.batch_size=8",
)  # fmt: skip


def command(arguments, cwd):
    """A command in a process of its own."""
    name, *rest = arguments
    line = [sys.executable, str(ROOT / name), *rest]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=200)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("language")
    save_llama(place / "llama")
    write_documents(place / "docs.jsonl", 120)
    (place / "prompts.txt").write_text("the cat\nthe dog sat on\n")
    return place


@pytest.fixture(scope="module")
def run(place):
    done = command(["train.py", *JOB, "kd=skew_kl", "kd.alpha=0.5", "cache.sampled=12", "hydra.run.dir=run"], place)
    assert done.returncode == 0, done.stderr
    assert "rows × 32 tokens × 62 bytes (12 drawn tokens)" in done.stdout + done.stderr
    return place / "run"


def test_a_student_learns_and_is_measured(run):
    summary = json.loads((run / "summary.json").read_text())
    student, teacher = summary["student"], summary["teacher"]
    assert {"perplexity", "kl", "agreement"} <= student["best"]["test"].keys()
    assert teacher["origin"] == "as built"
    assert student["parameters"] < teacher["parameters"]


def test_it_is_evaluated_continues_prompts_and_is_exported(run, place):
    done = command(["evaluate.py", f"run={run}"], place)
    assert done.returncode == 0, done.stderr
    assert "What follows the beginning of a document" in (run / "report.html").read_text()
    assert "equal to the run's own summary.json" in done.stdout
    done = command(["predict.py", f"run={run}", "prompts.txt", "max_new_tokens=5", "format=json"], place)
    assert done.returncode == 0, done.stderr
    written = [each["predictions"][0]["continuation"].split() for each in json.loads(done.stdout)]
    assert all(len(words) <= 5 and set(words) <= {*WORDS, "<unk>"} for words in written)
    done = command(["export.py", f"run={run}", "format=safetensors", "output=exported", "seconds=0"], place)
    assert done.returncode == 0, done.stderr
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(place / "exported")
    ids = AutoTokenizer.from_pretrained(place / "exported")("the cat", return_tensors="pt")["input_ids"]
    import distill

    student = distill.load(run)
    with torch.no_grad():
        hidden = student.model({"input_ids": ids})
        assert torch.allclose(student.model.output_layer(hidden), model(ids).logits, atol=1e-5)
    assert isinstance(student.preprocess, TextPreprocess)


def test_the_cache_is_filled_and_read(place):
    other = ("kd=kd", "kd.T=1", "cache.sampled=6", "cache.dir=filled")
    done = command(["train.py", *JOB, *other, "cache.only=true", "hydra.run.dir=filling"], place)
    assert done.returncode == 0, done.stderr
    assert not list((place / "filling").glob("student*"))
    done = command(["train.py", *JOB, *other, "hydra.run.dir=reading", "-v"], place)
    assert done.returncode == 0, done.stderr
    assert "teacher cache: 1 of 1 epochs were there, drift 0.0" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["teacher.name=./llama", "teacher.tokenizer=./larger", "model.tokenizer=./larger"], "tokens, and the teacher"),
        (["kd=dist"], "cannot be used with task=causal_lm"),
        (["data.max_length=1000"], "is for at most 256 tokens"),
    ],
)
def test_a_mistake_is_one_line(place, keys, message):
    save_tokenizer(place / "larger", (*WORDS, "bird"))
    done = command(["train.py", *JOB, "kd=kd", *keys], place)
    assert done.returncode != 0
    assert message in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
