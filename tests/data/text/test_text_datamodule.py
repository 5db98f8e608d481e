import logging
from functools import partial

import pytest
import torch

from distill.data import Splits, TextDataModule, TextPreprocess
from distill.data.sources import texts
from distill.data.text.tokenize import TextTokenizer
from distill.utils import distributed
from distill.utils.errors import UserError
from text_helpers import WORDS, write_jsonl, write_tokenizer

N = 60


def rows(n=N, **changes):
    return [
        {"text": "good film " * (1 + i % 7) if i % 2 else "bad " * (1 + i % 5), "label": ["neg", "pos"][i % 2]}
        | changes
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("reviews") / "reviews.jsonl", rows())


def module(root, tokenizer, batch_size=8, source=None, **options):
    targets = {"targets": options["targets"]} if "targets" in options else {}
    source = partial(texts, root, **targets) if source is None else source
    return TextDataModule.from_options(source, batch_size, tokenizer=str(tokenizer), **options)


def test_batches_hold_the_tokens_of_their_texts(reviews, tokenizer):
    data = module(reviews, tokenizer)
    seen = []
    for batch in data.train_dataloader():
        assert batch.teacher_inputs is None
        assert {each.dtype for each in [*batch.inputs.values(), batch.target, batch.index]} == {torch.int64}
        length = int(batch.inputs["attention_mask"].sum(1).max())
        assert batch.inputs["input_ids"].shape == (len(batch.index), -(-length // 8) * 8)
        for row, index in enumerate(batch.index.tolist()):
            words = data.text("train", index).split()
            ids = [2, *(4 + WORDS.index(word) for word in words), 3]
            mask = batch.inputs["attention_mask"][row]
            assert batch.inputs["input_ids"][row][mask == 1].tolist() == ids
            assert mask.tolist() == [1] * len(ids) + [0] * (len(mask) - len(ids))
            assert not batch.inputs["input_ids"][row][mask == 0].any()
            assert data.classes[batch.target[row]] == ("pos" if "good" in words else "neg")
            assert data.file("train", index) == f"{reviews}:{index + 1}"
        seen += batch.index.tolist()
    assert len(seen) == len(set(seen)) == data.num_train == 43
    assert set(seen) <= set(data.indices("train").tolist())


def test_an_evaluation_sees_each_sample_once_from_short_to_long(reviews, tokenizer):
    data = module(reviews, tokenizer)
    for name, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        index = torch.cat([batch.index for batch in loader])
        assert sorted(index.tolist()) == data.indices(name).tolist()
        lengths = [len(data.text(name, i).split()) for i in index.tolist()]
        assert lengths == sorted(lengths)


def test_the_length_is_the_99th_percentile_of_training_rounded_up(tmp_path, tokenizer, caplog):
    lines = [{"text": "good " * 5, "label": i % 2} for i in range(299)] + [{"text": "bad " * 30, "label": 1}]
    root = write_jsonl(tmp_path / "train.jsonl", lines).parent
    for name in ("val", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"text": "good " * 60, "label": i % 2} for i in range(4)])
    with caplog.at_level(logging.INFO):
        data = module(root, tokenizer)
        description = data.describe()
    assert "max_length=8 cuts 0.333 % of the training texts" in caplog.text
    assert (description["tokenizer"], description["max_length"]) == (str(tokenizer), 8)
    assert description["cut"] == pytest.approx(1 / 300)
    expected = {"kind": "text", "tokenizer": str(tokenizer), "max_length": 8, "pairs": False, "words": False}
    assert description["preprocess"] == expected
    assert TextPreprocess.from_dict(expected) == data.preprocess
    (batch,) = data.test_dataloader()
    assert batch.inputs["input_ids"].tolist() == [[2, *[4] * 6, 3]] * 4  # the last token stays the separator
    assert data.example(3).keys() == {"input_ids", "attention_mask", "token_type_ids"}


def test_the_length_is_bounded_by_the_tokenizer(tmp_path, tokenizer):
    root = write_jsonl(tmp_path / "long.jsonl", [{"text": "good " * 100, "label": i % 2} for i in range(30)])
    assert module(root, tokenizer).describe()["max_length"] == 64
    unlimited = write_tokenizer(tmp_path / "unlimited", limit=None)
    assert module(root, unlimited).describe()["max_length"] == 104
    short = module(root, unlimited, max_length=20).describe()
    assert (short["max_length"], short["cut"]) == (20, 1)
    assert module(root, unlimited, max_length=102).describe()["cut"] == 0
    assert module(root, unlimited, max_length=101).describe()["cut"] == 1
    with pytest.raises(UserError, match=r"data\.max_length=65: the tokenizer .* is for at most 64 tokens"):
        module(root, tokenizer, max_length=65).setup()
    with pytest.raises(UserError, match=r"data\.max_length must be a whole number, 8 or more, or null, got 7"):
        module(root, tokenizer, max_length=7)


def test_pairs_have_types_and_the_longer_text_is_cut(tmp_path, tokenizer):
    lines = [{"premise": "good film " * 10, "hypothesis": "bad", "label": i % 2} for i in range(30)]
    data = module(write_jsonl(tmp_path / "pairs.jsonl", lines), tokenizer, max_length=12)
    inputs = data.example(1)
    assert inputs["input_ids"].tolist() == [[2, *[4, 6] * 4, 3, 5, 3]]
    assert inputs["token_type_ids"].tolist() == [[0] * 10 + [1] * 2]
    assert data.text("train", 0) == ("good film " * 10, "bad")
    assert data.describe()["preprocess"]["pairs"]
    assert data.describe()["cut"] == 1
    again = data.preprocess([("good film " * 10, "bad")])
    assert all(torch.equal(again[name], inputs[name]) for name in inputs)


def test_a_teacher_with_another_vocabulary_gets_its_own_ids(reviews, tokenizer, tmp_path):
    other = write_tokenizer(tmp_path / "other", WORDS[::-1], types=False)
    data = module(reviews, tokenizer, teacher_tokenizer=str(other))
    batch = next(iter(data.train_dataloader()))
    assert batch.teacher_inputs.keys() == {"input_ids", "attention_mask"}
    assert torch.equal(batch.teacher_inputs["attention_mask"], batch.inputs["attention_mask"])
    valid = (batch.inputs["attention_mask"] == 1) & (batch.inputs["input_ids"] > 3)
    assert torch.equal(batch.teacher_inputs["input_ids"][valid], 4 + 18 - batch.inputs["input_ids"][valid])
    assert data.fingerprint != module(reviews, tokenizer).fingerprint


def test_a_copy_of_the_tokenizer_is_the_same_one(reviews, tokenizer, tmp_path):
    copy = write_tokenizer(tmp_path / "copy")
    data = module(reviews, tokenizer, teacher_tokenizer=str(copy))
    assert next(iter(data.train_dataloader())).teacher_inputs is None
    assert data.fingerprint == module(reviews, copy).fingerprint == module(reviews, tokenizer).fingerprint


def test_a_teacher_that_takes_no_types_gets_none(reviews, tokenizer, tmp_path):
    untyped = write_tokenizer(tmp_path / "untyped", types=False)
    for student, teacher in ((tokenizer, untyped), (untyped, tokenizer)):
        batch = next(iter(module(reviews, student, teacher_tokenizer=str(teacher)).train_dataloader()))
        assert ("token_type_ids" in batch.inputs) == (student is tokenizer)
        assert ("token_type_ids" in batch.teacher_inputs) == (teacher is tokenizer)
        assert torch.equal(batch.inputs["input_ids"], batch.teacher_inputs["input_ids"])


def test_the_fingerprint_covers_what_shapes_the_batches(reviews, tokenizer, tmp_path):
    same = write_jsonl(tmp_path / "moved.jsonl", rows())
    base = module(reviews, tokenizer).fingerprint
    assert module(same, tokenizer, batch_size=4, seed=3).fingerprint == base
    others = [
        module(reviews, tokenizer, max_length=24),
        module(reviews, tokenizer, split_seed=1),
        module(reviews, write_tokenizer(tmp_path / "other", WORDS[::-1])),
        module(write_jsonl(tmp_path / "text.jsonl", [*rows(N - 1), {"text": "very", "label": "pos"}]), tokenizer),
        module(write_jsonl(tmp_path / "labels.jsonl", [*rows(N - 1), rows()[-1] | {"label": "neg"}]), tokenizer),
        module(write_jsonl(tmp_path / "names.jsonl", [r | {"label": r["label"] + "!"} for r in rows()]), tokenizer),
    ]
    assert len({base, *(each.fingerprint for each in others)}) == 7


def test_words_have_the_label_of_their_first_token(tmp_path, tokenizer):
    (tmp_path / "train.conll").write_text(
        "jane\tB-per\nlives\tO\nin\tO\nparis!\tB-loc\n\nfilms\tO\n!\tO\n\n" + "the\tO\nparising\tI-loc\n\n" * 8
    )
    data = module(tmp_path / "train.conll", tokenizer, targets="tokens", test_fraction=0.1)
    assert data.classes == ["O", "B-loc", "B-per", "I-loc"]
    targets = {
        data.text(name, i): row
        for name in ("train", "val", "test")
        for batch in data.evaluation_loader(name)
        for i, row in zip(batch.index.tolist(), batch.target.tolist(), strict=True)
    }
    nothing = -100
    assert targets["jane lives in paris!"] == [nothing, 2, 0, 0, 1, nothing, nothing, nothing]
    assert targets["films !"] == [nothing, 0, nothing, 0, nothing, nothing, nothing, nothing]
    assert targets["the parising"] == [nothing, 0, 3, nothing, nothing, nothing, nothing, nothing]
    inputs = data.preprocess([["jane", "lives", "in", "paris!"], ["films", "!"]])
    assert inputs["input_ids"][1].tolist() == [2, 6, 10, 16, 3, 0, 0, 0]
    assert data.preprocess.first_tokens([["jane", "paris!", "in"], ["films", "!"]]).tolist() == [[1, 2, 4], [1, 3, -1]]
    assert data.model_arguments("tokens") == {"class_names": data.classes, "output": "tokens"}


def test_words_that_are_cut_have_no_label(tmp_path, tokenizer):
    (tmp_path / "train.conll").write_text(("paris\tB-loc\nfilms\tO\n" * 10 + "\n") * 10)
    data = module(tmp_path / "train.conll", tokenizer, targets="tokens", max_length=8)
    target = next(iter(data.train_dataloader())).target
    assert target[0].tolist() == [-100, 1, 0, -100, 1, 0, -100, -100]


def test_words_need_one_tokenizer(tmp_path, tokenizer):
    (tmp_path / "train.conll").write_text("paris\tB-loc\nfilms\tO\n\n" * 10)
    other = write_tokenizer(tmp_path / "other", WORDS[::-1])
    data = module(tmp_path / "train.conll", tokenizer, targets="tokens", teacher_tokenizer=str(other))
    with pytest.raises(
        UserError, match="task=tokens needs one tokenizer for student and teacher, .*tiny.*other differ"
    ):
        data.setup()


def test_an_interrupted_epoch_resumes_with_its_next_batch(reviews, tokenizer):
    loader = module(reviews, tokenizer).train_dataloader()
    loader.sampler.set_epoch(2)
    whole = [batch.index.tolist() for batch in loader]
    loader = module(reviews, tokenizer).train_dataloader()
    loader.sampler.set_epoch(2)
    batches = iter(loader)
    first = [next(batches).index.tolist() for _ in range(2)]
    state = loader.state_dict()
    resumed = module(reviews, tokenizer).train_dataloader()
    resumed.load_state_dict(state)
    assert first + [batch.index.tolist() for batch in resumed] == whole


def test_workers_make_the_same_batches(reviews, tokenizer):
    alone, workers = (module(reviews, tokenizer, num_workers=n).train_dataloader() for n in (0, 1))
    for one, other in zip(alone, workers, strict=True):
        assert torch.equal(one.inputs["input_ids"], other.inputs["input_ids"])
    workers.close()


def test_data_in_memory(tokenizer):
    def source():
        return Splits([("good film", "pos"), ("bad", "neg")] * 10, [{"text": "bad", "label": "neg"}] * 3)

    data = module(None, tokenizer, source=source)
    assert data.classes == ["neg", "pos"]
    assert next(iter(data.val_dataloader())).target.tolist() == [0, 0, 0]
    assert data.text("train", 1) == "bad"
    assert data.file("train", 1) is None


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([5, 6], {}, r"must return texts, tuples .* item 0 is '5'"),
        ([("", 1)] * 4, {}, "the text of item 0 is empty"),
        (["a"] * 4, {}, "item 0 has no label"),
        ([("a", 1), ("b", "c")] * 4, {}, "the labels must be all whole numbers, all text"),
        ([("a", 1), (("b", "b"), 0)] * 4, {}, "some of the texts are pairs, and some are not"),
        ([("a", 1)] * 4, {"targets": "tokens"}, "a source of words and tags must return TextSet"),
    ],
)
def test_data_in_memory_that_are_no_texts(tokenizer, items, options, message):
    with pytest.raises(UserError, match=message):
        module(None, tokenizer, source=lambda: items, **options).setup()


def test_the_first_process_tokenises_for_all(reviews, tokenizer, monkeypatch):
    sent = []
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (0, 2))
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: sent.append(value) or value)
    first = module(reviews, tokenizer)
    first.setup()
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (1, 2))
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: sent.pop(0))
    monkeypatch.setattr(TextTokenizer, "encode", None)
    second = module(reviews, tokenizer)
    second.setup()
    assert not sent
    assert second.fingerprint == first.fingerprint
    assert torch.equal(second.loaded.splits["test"].encoded.ids, first.loaded.splits["test"].encoded.ids)
    sent.append(UserError("a text without a token"))
    with pytest.raises(UserError, match="a text without a token"):
        module(reviews, tokenizer).setup()


def test_a_mistake_of_the_first_process_is_that_of_all(reviews, tokenizer, monkeypatch):
    sent = []
    monkeypatch.setattr(distributed, "is_distributed", lambda: True)
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (0, 2))
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: sent.append(value) or value)
    with pytest.raises(UserError, match="data.max_length=4096: the tokenizer"):
        module(reviews, tokenizer, max_length=4096).setup()
    assert str(sent[0]).startswith("data.max_length=4096")


@pytest.mark.parametrize("kind", ["texts", "pairs", "words"])
def test_training_texts_in_another_split_are_said(tmp_path, tokenizer, caplog, kind):
    made = [
        {
            "texts": {"text": f"good {'film ' * i}", "label": i % 2},
            "pairs": {"sentence1": "good", "sentence2": f"film {'is ' * i}", "label": i % 2},
            "words": {"tokens": ["good", *["film"] * i], "tags": ["O", *["B-X"] * i]},
        }[kind]
        for i in range(1, 41)
    ]
    targets = {"targets": "tokens"} if kind == "words" else {}
    for name, part in {"train": made[:30], "val": made[28:38], "test": made[29:]}.items():
        write_jsonl(tmp_path / f"{name}.jsonl", part)
    module(tmp_path, tokenizer, **targets).setup()
    (said,) = [message for message in caplog.messages if "training texts too" in message]
    assert said == "2 of the 10 val texts are training texts too (20 %): its scores say little about new texts"


@pytest.mark.parametrize(("unknown", "said"), [(1, False), (3, True)])
def test_texts_that_a_tokenizer_does_not_know_are_said(tmp_path, tokenizer, caplog, unknown, said):
    """Of every text of 10 words so many are in no vocabulary; the special tokens around them do not count."""
    text = " ".join(["ሰላም"] * unknown + ["good"] * (10 - unknown))
    data = module(write_jsonl(tmp_path / "t.jsonl", [{"text": text, "label": i % 2} for i in range(30)]), tokenizer)
    with caplog.at_level(logging.WARNING):
        data.setup()
    warning = f"{10 * unknown} % of the tokens of the training texts are unknown to the tokenizer {tokenizer}"
    assert [message for message in caplog.messages if "training texts too" not in message] == [warning] * said
