"""Export of runs on texts: files that transformers and onnxruntime alone run, with the student's own answers."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from distill.cli import export
from distill.evaluation.runs import Run
from distill.export.options import Options
from distill.export.text_tokenizer import save_tokenizer
from distill.utils.errors import UserError

TASKS = {  # those of one output per text differ in nothing that another format sees
    **dict.fromkeys(("classification", "tokens", "embedding"), ("onnx", "torch_export", "safetensors")),
    **dict.fromkeys(("pairs", "multilabel", "regression"), ("onnx",)),
}
SHORT = {"seconds": 0, "threads": 1}


def exported(run, output, **options):
    assert export.export(Options(run=str(run), output=str(output), **{**SHORT, **options})) == 0
    return {row["model"]: row for row in json.loads((output / "export.json").read_text())["rows"]}


def kept_score(run, score):
    student = json.loads((run / "summary.json").read_text())["student"]
    return student["best"]["test"][score] if student.get("best") else student["last"]["test"][score]


def lines(folder, word):
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    (code,) = [each for each in found if word in each]
    return code


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_format_answers_as_the_student(text_run, tmp_path, task):
    run, formats = text_run(task), TASKS[task]
    found = exported(run, tmp_path / "e", format=",".join(formats), quantize="int8", max_accuracy_drop=1.0)
    students = ["PyTorch", *formats, "onnx int8"]
    assert list(found) == ["teacher, PyTorch", *(f"student, {name}" for name in students)]
    for name in formats:
        row = found[f"student, {name}"]
        assert row["difference"] < 1e-4
        assert row["score"] == pytest.approx(row["reference"], abs=1e-3)  # ranks of nearly equal cosines
    assert found["student, onnx int8"]["bytes"] < found["student, onnx"]["bytes"]
    assert found["student, onnx int8"]["difference"] > 1e-5  # it is no copy of the other
    if task not in ("embedding",):  # whose score is its likeness to the teacher
        metric = Run(run).task.info.against_labels.name
        assert found["student, onnx"]["score"] == pytest.approx(kept_score(run, metric), abs=1e-5)
    for path in (tmp_path / "e").rglob("*"):
        if path.is_file() and path.name not in ("README.md", "export.json"):  # which show the commands
            assert str(run.parent).encode() not in path.read_bytes(), path.name
    for word in ("onnxruntime", "AutoModel")[: len(formats) - 1]:
        done = subprocess.run([sys.executable, "-c", lines(tmp_path / "e", word)], cwd=tmp_path / "e",
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.slow
def test_the_onnx_file_takes_any_batch_and_length(text_run, tmp_path):
    """Run by onnxruntime alone, on ids that this test makes."""
    import onnxruntime

    run = text_run("classification")
    exported(run, tmp_path / "e", format="onnx")
    session = onnxruntime.InferenceSession(tmp_path / "e" / "model.onnx", providers=["CPUExecutionProvider"])
    shapes = {value.name: value.shape for value in session.get_inputs()}
    assert shapes == {name: ["batch", "length"] for name in ("input_ids", "attention_mask", "token_type_ids")}
    assert json.loads(session.get_modelmeta().custom_metadata_map["classes"]) == list(Run(run).classes)
    model = Run(run).student.model
    generator = torch.Generator().manual_seed(0)
    for shape in ((1, 1), (1, 9), (3, 1), (5, 8), (2, 64)):
        ids = torch.randint(5, 17, shape, generator=generator)
        mask = (torch.arange(shape[1]) < torch.randint(1, shape[1] + 1, (shape[0], 1), generator=generator)).long()
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        (logits,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.inference_mode():
            np.testing.assert_allclose(logits, model(inputs).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_folder_is_one_of_transformers(text_run, tmp_path):
    """Opened without this project, it says the classes' names and cuts texts where the run did."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    run = text_run("multilabel")
    exported(run, tmp_path / "e", format="safetensors")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "e")
    assert [model.config.id2label[i] for i in range(3)] == list(Run(run).classes)
    assert model.config.problem_type == "multi_label_classification"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "e")
    text = "the cat sat on the mat " * 20
    inputs = tokenizer(text, truncation=True, return_tensors="pt")
    student, expected = Run(run).student.model, Run(run).preprocess([text])
    assert inputs["input_ids"].shape[1] == Run(run).preprocess.max_length
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(**inputs).logits, student(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_embeddings_folder_says_how_it_is_pooled(text_run, tmp_path):
    exported(text_run("embedding"), tmp_path / "e", format="safetensors")
    modules = json.loads((tmp_path / "e" / "modules.json").read_text())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling"]
    assert json.loads((tmp_path / "e" / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"] is True
    assert 'SentenceTransformer(".")' in (tmp_path / "e" / "README.md").read_text()


@pytest.mark.slow
def test_speed_is_measured(text_run, tmp_path):
    found = exported(text_run("classification"), tmp_path / "e", format="onnx", seconds=0.001)
    for row in found.values():
        assert row["speed"]["rounds"] >= 100
        assert row["speed"]["best_batch"] in (1, 8, 32)


@pytest.mark.slow
def test_another_run_in_the_same_table(text_run, tmp_path):
    run = text_run("classification")
    shutil.copytree(run, tmp_path / "other", ignore=shutil.ignore_patterns("checkpoints"))
    found = exported(run, tmp_path / "e", format="onnx", against=str(tmp_path / "other"))
    assert found["other, onnx"]["score"] == found["student, onnx"]["score"]
    assert found["other, onnx"]["difference"] < 1e-4


@pytest.mark.slow
def test_weights_that_answer_otherwise_are_refused(text_run, tmp_path, monkeypatch):
    from distill.models.text.encoder import TextModel

    right = TextModel.save_pretrained

    def wrong(self, folder):
        self.model.classifier.bias.data += 0.01
        right(self, folder)
        self.model.classifier.bias.data -= 0.01

    monkeypatch.setattr(TextModel, "save_pretrained", wrong)
    with pytest.raises(UserError, match=r"model.safetensors: a logit differs by 0.01 from PyTorch's"):
        exported(text_run("classification"), tmp_path / "e", format="safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_tokenizer_that_reads_otherwise_is_refused(text_run, tmp_path, monkeypatch):
    data = Run(text_run("classification")).data
    split = data.loaded.splits["test"]
    split.encoded.ids[3] += 1
    with pytest.raises(UserError, match="gives other tokens in transformers than in the run"):
        save_tokenizer(data, tmp_path, ("input_ids", "attention_mask"))


@pytest.mark.slow
def test_options_of_images_are_refused(text_run, tmp_path):
    with pytest.raises(UserError, match="calibration=entropy is of images: int8 of texts needs no calibration"):
        exported(text_run("classification"), tmp_path / "e", quantize="int8", calibration="entropy")
    assert not list(tmp_path.iterdir())
