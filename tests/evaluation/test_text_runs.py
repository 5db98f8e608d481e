"""A run of texts is opened from its own folder: no file that it began with is needed, and none of it is executed."""

import json
import shutil

import pytest
import torch

import distill
from distill.data.text.kept import keep_tokenizer
from distill.data.text.tokenize import load_tokenizer
from distill.evaluation.runs import Run
from distill.utils.errors import UserError
from text_models import WORDS, save_tokenizer

slow = pytest.mark.slow
SENTENCES = ["the cat sat on the mat", "the dog ran under the tree fast slow"]


@pytest.fixture
def moved(text_run, tmp_path):
    """A function that copies a run to where its teacher's folder is not known, as to another machine."""

    def copy(task):
        folder = tmp_path / task
        shutil.copytree(text_run(task), folder)
        summary = json.loads((folder / "summary.json").read_text())
        name = summary["config"]["teacher"]["name"]
        text = json.dumps(summary).replace(name, str(tmp_path / "gone" / "bert"))
        (folder / "summary.json").write_text(text)
        return folder

    return copy


@slow
@pytest.mark.parametrize("task", ["classification", "pairs", "tokens", "embedding"])
def test_a_student_is_opened_where_the_teachers_folder_is_gone(text_run, moved, task):
    texts = [tuple(text.split(" ", 3)[2:]) for text in SENTENCES] if task == "pairs" else SENTENCES
    expected = distill.load(text_run(task)).predict(texts)
    assert distill.load(moved(task)).predict(texts) == expected
    run = Run(text_run(task))
    assert run.student.name == run.summary.student.name


@slow
def test_the_data_are_read_with_the_runs_own_tokenizer(moved):
    folder = moved("classification")
    assert Run(folder).data.fingerprint == json.loads((folder / "summary.json").read_text())["data"]["fingerprint"]


@slow
def test_a_teacher_that_was_not_trained_is_missing_in_one_line(moved):
    run = Run(moved("embedding"))
    assert run.student.model is not None
    with pytest.raises(UserError, match="there is no folder .*gone/bert"):
        _ = run.teacher


@slow
def test_code_that_a_kept_configuration_names_is_not_run(moved, tmp_path):
    folder, marker = moved("classification"), tmp_path / "marker"
    for name in ("model", "tokenizer"):
        (folder / name / "strangers.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    config = json.loads((folder / "model/config.json").read_text())
    config["auto_map"] = {"AutoConfig": "strangers.Config", "AutoModelForSequenceClassification": "strangers.Model"}
    (folder / "model/config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer/tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["strangers.Tokenizer", "strangers.Tokenizer"]}
    (folder / "tokenizer/tokenizer_config.json").write_text(json.dumps(tokenizer))
    distill.load(folder).predict(SENTENCES)  # of a known architecture: the code is passed over
    config["model_type"] = "strange"
    (folder / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="brings its own code"):
        distill.load(folder)
    assert not marker.exists()


@slow
def test_weights_in_the_kept_folder_are_not_read(moved):
    folder = moved("classification")
    (folder / "model/pytorch_model.bin").write_bytes(b"no weights")
    (folder / "model/model.safetensors").write_bytes(b"no weights")
    assert distill.load(folder).predict(SENTENCES)


def _byte_level():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<pad>", "<unk>", *letters, "ca"])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("c", "a")], unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def _unigram():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<pad>", 0.0), ("<unk>", 0.0), *[(f"▁{word}", -1.0) for word in WORDS[5:]], ("▁", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", truncation_side="left")


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("kind", ["bert", "byte_level", "unigram"])
def test_a_kept_tokenizer_reads_as_the_original(kind, words, tmp_path):
    if kind == "bert":
        save_tokenizer(tmp_path / "original")
    else:
        {"byte_level": _byte_level, "unigram": _unigram}[kind]().save_pretrained(tmp_path / "original")
    original = load_tokenizer(str(tmp_path / "original"), words=words)
    keep_tokenizer(original, tmp_path / "run" / "tokenizer", words)
    kept = load_tokenizer(str(tmp_path / "run" / "tokenizer"), words=words)
    assert kept.content == original.content
    texts = [[text.split() if words else text for text in SENTENCES]]
    assert torch.equal(kept.encode(texts, words).ids, original.encode(texts, words).ids)
    assert not list(tmp_path.glob("run/*.part"))
