import json
import sys

import numpy as np
import pytest
import torch

from distill.data import TextPreprocess
from distill.data.text import tokenize
from distill.data.text.encoded import Encoded, offsets_of
from distill.data.text.tokenize import load_tokenizer
from distill.utils.errors import UserError
from text_helpers import WORDS, write_tokenizer


def byte_level(folder):
    """A tokenizer as RoBERTa's, for which a word begins with a blank."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["a good film"] * 9, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: "owner/nothing", r"'owner/nothing' is no folder here, and not \(whole\) in .*HF_HUB_OFFLINE=1"),
        (lambda path: str(path / "none"), "data.tokenizer: there is no folder .*none"),
        (lambda path: str(path), "data.tokenizer: folder .* holds no tokenizer, none of tokenizer.json"),
        (lambda path: write_tokenizer(path / "unpadded", pad=False), 'has no padding token, .* "pad_token" in its'),
    ],
)
def test_what_is_no_tokenizer_is_said_in_one_line(tmp_path, monkeypatch, make, message):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=message) as caught:
        load_tokenizer(str(make(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_broken_tokenizer_is_said_in_one_line(tmp_path):
    folder = write_tokenizer(tmp_path / "t")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="data.teacher_tokenizer: the tokenizer of .* cannot be read") as caught:
        load_tokenizer(str(folder), "data.teacher_tokenizer")
    assert "\n" not in str(caught.value)


def test_without_transformers(tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setattr("distill.utils.errors.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"^data=text needs transformers: pip install 'distill\[text\]'$"):
        load_tokenizer(str(tokenizer))


def test_code_of_a_tokenizer_is_never_run(tmp_path, tokenizer):
    folder = write_tokenizer(tmp_path / "t")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": [None, "evil.Evil"]}, "tokenizer_class": "Evil"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    try:
        load_tokenizer(str(folder))
    except UserError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "ran").exists()


def test_the_limit_is_the_smaller_of_tokenizer_and_model(tmp_path):
    folder = write_tokenizer(tmp_path / "t", limit=None)
    assert load_tokenizer(str(folder)).limit is None
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 40}))
    assert load_tokenizer(str(folder)).limit == 40
    (folder / "config.json").write_text(json.dumps({"model_type": "roberta", "max_position_embeddings": 40}))
    assert load_tokenizer(str(folder)).limit == 39  # positions begin behind the padding token, 0 here


def test_content_is_what_makes_ids(tmp_path, tokenizer):
    content = load_tokenizer(str(tokenizer)).content
    assert load_tokenizer(str(write_tokenizer(tmp_path / "copy", limit=9))).content == content
    assert load_tokenizer(str(write_tokenizer(tmp_path / "other", WORDS[1:]))).content != content


def test_pieces_are_bounded_and_in_order(tokenizer, monkeypatch):
    loaded = load_tokenizer(str(tokenizer))
    texts = [" ".join(WORDS[i % 6] for i in range(n)) for n in (1, 7, 0, 3, 12, 5)]
    whole = loaded.encode([texts])
    monkeypatch.setattr(tokenize, "_TEXTS", 2)
    monkeypatch.setattr(tokenize, "_CHARACTERS", 30)
    apart = loaded.encode([texts[:1], [], texts[1:]])
    assert torch.equal(whole.ids, apart.ids)
    assert whole.lengths.tolist() == apart.lengths.tolist() == [3, 9, 2, 5, 14, 7]
    assert whole.ids.dtype == torch.int32
    assert whole.types is None
    assert loaded.encode([[("good", "bad film")]]).types.tolist() == [0, 0, 0, 1, 1, 1]


def test_words_of_a_byte_level_tokenizer_are_those_behind_a_blank(tmp_path):
    folder = str(byte_level(tmp_path / "bytes"))
    loaded = load_tokenizer(folder, words=True)
    encoded = loaded.encode([[["a", "good", "film"]]], words=True, tags=iter([np.array([5, 6, 7])]))
    plain = load_tokenizer(folder).encode([[" a good film"]])
    assert encoded.ids.tolist() == plain.ids.tolist()
    assert [label for label in encoded.labels.tolist() if label >= 0] == [5, 6, 7]


def test_rows_are_shortened():
    labels = torch.arange(9, dtype=torch.int16)
    encoded = Encoded(torch.arange(9, dtype=torch.int32), offsets_of(np.array([3, 4, 2])), None, labels)
    short = Encoded(torch.tensor([7, 8], dtype=torch.int32), offsets_of(np.array([2])), None, labels[:2] + 50)
    cut = encoded.with_shortened(torch.tensor([1]), short)
    assert cut.ids.tolist() == [0, 1, 2, 7, 8, 7, 8]
    assert cut.labels.tolist() == [0, 1, 2, 50, 51, 7, 8]
    assert cut.offsets.tolist() == [0, 3, 5, 7]


@pytest.mark.parametrize(("longest", "max_length", "length"), [(8, 64, 8), (9, 64, 16), (9, 12, 12), (9, 9, 9)])
def test_a_batch_is_padded_to_a_multiple_of_eight(longest, max_length, length):
    ids = torch.arange(1, longest + 3, dtype=torch.int32)
    encoded = Encoded(ids, offsets_of(np.array([longest, 2])))
    batch = encoded.batch(torch.tensor([1, 0]), 99, True, max_length)
    padding = [99] * (length - 2)
    assert batch["input_ids"].tolist() == [
        [longest + 1, longest + 2, *padding],
        [*ids[:longest].tolist(), *padding[longest - 2 :]],
    ]
    assert batch["attention_mask"].sum(1).tolist() == [2, longest]
    assert batch["token_type_ids"].tolist() == [[0] * length] * 2


def test_what_is_no_text_is_shown_in_one_line(tokenizer):
    preprocess = TextPreprocess(str(tokenizer), 16, False, False)
    with pytest.raises(UserError, match=r"text 1 must be a text, none of them empty, got 'tensor\(\[\[0\., 0\.\], \[0"):
        preprocess([torch.zeros(3, 2)])


def test_preprocessing_is_pickled_without_its_tokenizer(tokenizer):
    import pickle

    preprocess = TextPreprocess(str(tokenizer), 8)
    inputs = preprocess(["good film " * 9, "bad"])
    assert inputs["input_ids"].tolist() == [[2, 4, 6, 4, 6, 4, 6, 3], [2, 5, 3, 0, 0, 0, 0, 0]]
    content = pickle.dumps(preprocess)
    assert len(content) < 1000
    again = pickle.loads(content)
    assert again == preprocess
    assert torch.equal(again(["bad"])["input_ids"], inputs["input_ids"][1:])
