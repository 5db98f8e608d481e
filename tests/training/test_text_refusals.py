"""Mistakes with texts: one line each, before anything is trained."""

import json
import re
import shutil
import sys

import pytest

import distill.training.pipeline
from distill.utils.errors import UserError
from jobs import run_job
from text_jobs import save_encoder, write_rows, write_texts

SHORT = ("trainer.max_epochs=1", "teacher.recipe.max_epochs=1", "threads=1", "logger=none", "log_level=warning")
TEXT = ("data=text", "teacher=hf", "teacher.name=bert")
CUT = (*TEXT, "model.layers=2")
REVIEWS = "data.root=reviews.jsonl"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Texts, and files with one fault each."""
    folder = write_texts(tmp_path_factory.mktemp("texts"), n=60)
    lines = (folder / "reviews.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    (folder / "broken.jsonl").write_text("\n".join([*lines[:30], '{"text": "the cat', *lines[30:]]))
    (folder / "empty.jsonl").write_text("\n".join([*lines[:30], '{"text": " ", "label": "cat"}', *lines[30:]]))
    write_rows(folder / "columns.jsonl", [{"txt": row["text"], "label": row["label"]} for row in rows])
    (folder / "splits").mkdir()
    write_rows(folder / "splits" / "train.jsonl", rows)
    write_rows(folder / "splits" / "test.jsonl", [*rows[:20], {"text": "the bird", "label": "bird"}])
    save_encoder(folder / "tagger", head="TokenClassification")
    save_encoder(folder / "narrow", vocab_size=12)
    save_encoder(folder / "few", max_position_embeddings=12)
    shutil.copytree(folder / "bert", folder / "no_pad")
    path = folder / "no_pad" / "tokenizer_config.json"
    path.write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


@pytest.fixture
def untrained(place, tmp_path, monkeypatch):
    """Runs a command in the folder of the texts that must end before any training."""

    def trains(*args, **kwargs):
        raise AssertionError("the training began")

    monkeypatch.chdir(place)
    monkeypatch.setattr(distill.training.pipeline, "fit", trains)
    return lambda *arguments: run_job(tmp_path / "run", *SHORT, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*CUT, "data.root=empty.jsonl"), "line 31 of empty.jsonl: the text is empty"),
        ((*CUT, "data.root=broken.jsonl"), "line 31 of broken.jsonl: no JSON"),
        ((*CUT, "data.root=columns.jsonl"), "set data.text= to one of txt, label"),
        ((*CUT, REVIEWS, "data.label=lable"), "the label column (data.label); did you mean 'label'"),
        ((*CUT, REVIEWS, "task=tokens"), "task=tokens reads a list of words and a list of tags in each row"),
        ((*CUT, "data.root=ner.conll"), "ner.conll holds words with tags: set task=tokens"),
        ((*CUT, "data.root=splits"), "line 21 of test.jsonl is 'bird', which is no class of the training split"),
        ((*CUT, REVIEWS, "task=regression"), "must be a number, got"),
        ((*CUT, "data.root=reviws.jsonl"), "did you mean 'reviews.jsonl'"),
        ((*CUT, REVIEWS, "data.max_length=1000"), "bert is for at most 512 tokens"),
        (("data=text", "teacher=hf", "teacher.name=no_pad", REVIEWS), "teacher.name=no_pad: this tokenizer has no pad"),
        ((*TEXT, "model=hf", "model.name=no_pad", REVIEWS), "model.name=no_pad: this tokenizer has no padding"),
        ((*TEXT, "data.tokenizer=no_pad", REVIEWS), "data.tokenizer=no_pad: this tokenizer has no padding"),
        (("data=text", "teacher=hf", "teacher.name=tagger", REVIEWS), "teacher: tagger is a"),
        (("data=text", "teacher=hf", "teacher.name=narrow", REVIEWS), "has 17 tokens, and the teacher narrow 12 embed"),
        ((*TEXT, "model=hf", "model.name=narrow", REVIEWS), "has 17 tokens, and the student narrow 12 embeddings"),
        ((*TEXT, "model=bert_tiny", "+model.vocab_size=12", REVIEWS), "tokens, and the student bert-2x128 12 embed"),
        ((*TEXT, REVIEWS, "model.layers=9"), "model.layers=9: bert has 4 layers: at least 1 and at most 4"),
        ((*TEXT, REVIEWS, "model.layers=[0,7]"), "model.layers=[0, 7]: bert has no layer 7; its layers are 0 to 3"),
        ((*TEXT, REVIEWS, "model=hf", "model.name=few", "data.tokenizer=bert"), "few takes at most 12 tokens"),
        ((*TEXT, "data.root=ner.conll", "task=tokens", "model=hf", "model.name=other"), "needs one tokenizer"),
        ((*CUT, "data.root=ner.conll", "task=tokens", "kd=rkd"), "it compares whole texts"),
        *[((*CUT, REVIEWS, f"kd={kd}"), "compares maps of images") for kd in ("at", "nst", "fsp", "ab", "combined")],
        ((*CUT, REVIEWS, "kd=simkd"), "SimKD needs a teacher whose classifier reads the mean over space"),
        (("kd=minilm",), "has no attention whose queries, keys and values"),
        (("kd=hidden",), "tokens of a transformer"),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_before_any_training(untrained, arguments, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        untrained(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["empty.jsonl", "broken.jsonl"])
def test_broken_lines_are_left_out_where_asked(untrained, file, caplog):
    with pytest.raises(AssertionError, match="the training began"):
        untrained(*CUT, f"data.root={file}", "data.on_broken=skip")
    assert "line 31" in caplog.text


def test_what_became_of_each_head_is_said_once(untrained, caplog):
    with pytest.raises(AssertionError, match="the training began"):
        untrained(*CUT, REVIEWS, "log_level=info")
    assert [line for line in caplog.messages if "head" in line] == ["teacher bert: 2 outputs, a new head"]
    assert caplog.messages.count("student bert-2-layers: layers 1, 3 of its teacher") == 1


def test_nothing_of_a_teacher_is_chosen_for_a_student_alone(untrained, caplog):
    alone = ("data=text", REVIEWS, "kd=none", "model=hf", "model.name=bert", "log_level=info")
    with pytest.raises(AssertionError, match="the training began"):
        untrained(*alone)
    assert "student bert: 2 outputs, a new head" in caplog.messages
    assert not [line for line in caplog.messages if "teacher" in line]


def test_a_name_of_the_hub_without_network(untrained, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="is no folder here, and not .* in the Hugging Face cache"):
        untrained("data=text", "teacher=hf", "teacher.name=nobody/nothing-here", REVIEWS)


def test_without_transformers(untrained, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=re.escape("data=text needs transformers: pip install 'distill[text]'")):
        untrained(*CUT, REVIEWS)
