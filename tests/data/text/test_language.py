"""Documents and conversations as a language model reads them."""

import json

import pytest
import torch

from distill.data.sources import texts
from distill.data.text.language import LanguageDataModule
from distill.utils.errors import UserError
from language_models import TEMPLATE, WORDS, save_tokenizer

CHAT = [
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": "sat on"},
    {"role": "user", "content": "the dog"},
    {"role": "assistant", "content": "ran"},
]
MARKED = (
    "{% for m in messages %}{{ m.role }} : {% if m.role == 'assistant' %}{% generation %}{{ m.content }} </s>"
    "{% endgeneration %}{% else %}{{ m.content }} {% endif %}{% endfor %}"
)


def module(root, tokenizer, **options):
    source = {"root": str(root), "targets": "next_token"}
    data = LanguageDataModule.from_options(
        lambda: texts(**source), batch_size=2, tokenizer=str(tokenizer), targets="next_token", **options
    )
    data.setup()
    return data


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words_of(data, target):
    vocabulary = {number: word for word, number in data.loaded.student.tokenizer.whole.get_vocab().items()}
    return [vocabulary[int(i)] for i in target[target >= 0]]


def test_a_document_ends_with_the_token_that_ends_a_text(tmp_path):
    data = module(write(tmp_path / "d.jsonl", [{"text": "the cat sat"}] * 10), save_tokenizer(tmp_path / "t"))
    batch = data.dataset("train", train=True)[0, torch.tensor([0])]
    assert words_of(data, batch.target)[:3] == ["cat", "sat", "</s>"]
    assert data.text("train", 0).startswith("the cat sat\n\nthe cat sat")


@pytest.mark.parametrize("template", [TEMPLATE, MARKED])
def test_of_a_conversation_the_answers_alone_are_learnt(tmp_path, template):
    tokenizer = save_tokenizer(tmp_path / "t", template=template)
    data = module(write(tmp_path / "d.jsonl", [{"messages": CHAT}] * 10), tokenizer, max_length=32)
    batch = data.dataset("test", train=False)[0, torch.tensor([0])]
    assert words_of(data, batch.target)[:5] == ["sat", "on", "</s>", "ran", "</s>"]


def test_what_is_learnt_is_part_of_the_fingerprint(tmp_path):
    """The tokens are the same, those of a user's turns are targets instead."""
    rows, others = write(tmp_path / "d.jsonl", [{"messages": CHAT}] * 10), MARKED.replace("== 'assistant'", "== 'user'")
    others = others.replace("{{ m.content }} </s>{% endg", "{{ m.content }} {% endg").replace(
        "{% else %}{{ m.content }} {%", "{% else %}{{ m.content }} </s>{%"
    )
    found = [module(rows, save_tokenizer(tmp_path / str(i), template=t)) for i, t in enumerate((MARKED, others))]
    one, other = (data.dataset("train", train=False)[0, torch.tensor([0])] for data in found)
    assert torch.equal(one.inputs["input_ids"], other.inputs["input_ids"])
    assert not torch.equal(one.target, other.target)
    assert found[0].fingerprint != found[1].fingerprint


def test_conversations_of_parquet_are_those_of_jsonl(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet as pq

    tokenizer = save_tokenizer(tmp_path / "t")
    pq.write_table(pa.table({"messages": [CHAT] * 10}), tmp_path / "d.parquet")
    one = module(tmp_path / "d.parquet", tokenizer)
    other = module(write(tmp_path / "d.jsonl", [{"messages": CHAT}] * 10), tokenizer)
    assert one.fingerprint == other.fingerprint


def test_a_folder_of_documents_and_lines_of_a_file(tmp_path):
    tokenizer = save_tokenizer(tmp_path / "t")
    folder = tmp_path / "docs"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}.md").write_text("the cat\nsat")
    assert len(module(folder, tokenizer).loaded.splits["train"].documents) == 7
    (tmp_path / "lines.txt").write_text("the cat\n" * 10)
    assert len(module(tmp_path / "lines.txt", tokenizer).loaded.splits["train"].documents) == 7


def test_longer_documents_are_split_and_it_is_said(tmp_path, caplog):
    caplog.set_level("INFO", "distill")
    rows = [{"text": "the cat sat on " * 6}] * 10
    data = module(write(tmp_path / "d.jsonl", rows), save_tokenizer(tmp_path / "t"), max_length=8)
    assert "max_length=8 splits 100 % of the training documents, which are longer" in caplog.text
    assert data.loaded.splits["train"].packed.lengths.max() == 8


def test_a_tokenizer_of_another_vocabulary_is_refused_with_both_names(tmp_path):
    one, other = save_tokenizer(tmp_path / "one"), save_tokenizer(tmp_path / "other", (*WORDS, "bird"))
    with pytest.raises(UserError, match=r"one vocabulary, and .*one \(18 tokens\) and .*other \(19\) differ"):
        module(write(tmp_path / "d.jsonl", [{"text": "the cat"}] * 10), one, teacher_tokenizer=str(other))


@pytest.mark.parametrize(
    ("rows", "template", "message"),
    [
        ([{"text": "the cat"}, {"text": " "}], TEMPLATE, "line 2 of d.jsonl: the text is empty"),
        ([{"text": "the cat"}, {"body": "the"}], TEMPLATE, "line 2 of d.jsonl: it has no text"),
        ([{"messages": CHAT}, {"messages": CHAT[:1]}], TEMPLATE, "line 2 of d.jsonl: the messages hold no answer"),
        ([{"messages": [{"role": "user"}]}], TEMPLATE, "the content of message 1 is null"),
        ([{"messages": CHAT}] * 9, None, "line . of d.jsonl is a conversation, and the tokenizer .* no chat template"),
        ([{"messages": CHAT}] * 9, "{{ raise_exception('no') }}", "the chat template of .* fails: no"),
        ([{"messages": CHAT}] * 9, "{{ messages | length }}{{ messages[-1].content }}", "cannot be told: mark it with"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path, rows, template, message):
    tokenizer = save_tokenizer(tmp_path / "t", template=template)
    with pytest.raises(UserError, match=message) as error:
        module(write(tmp_path / "d.jsonl", rows), tokenizer)
    assert "\n" not in str(error.value)


def test_broken_utf_8_is_said_with_its_line(tmp_path):
    (tmp_path / "d.txt").write_bytes(b"the cat\n" * 5 + b"the \xff cat\n")
    with pytest.raises(UserError, match="line 6 of d.txt: the text is no UTF-8"):
        module(tmp_path / "d.txt", save_tokenizer(tmp_path / "t"))
