import pytest

from distill.data.sources import texts
from distill.utils.errors import UserError


def file(tmp_path, content, name="t.conll"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def sentences(dataset):
    first = dataset.first_words.tolist()
    return [(dataset.text(row), dataset.tags[first[row] : first[row + 1]].tolist()) for row in range(len(dataset))]


@pytest.mark.parametrize("name", ["t.conll", "t.txt", "t.bio"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_conll(tmp_path, name, end):
    text = "-DOCSTART- -X- -X- O\n\nEU NNP I-NP B-ORG\nsells VBZ I-VP O\n\n\t\nIn IN I-PP O\nBerlin NNP I-NP I-LOC\n"
    splits = texts(file(tmp_path, b"\xef\xbb\xbf" + text.replace("\n", end).encode(), name), targets="tokens")
    assert splits.classes == ["O", "B-ORG", "I-LOC"]
    assert sentences(splits.train) == [("EU sells", [1, 0]), ("In Berlin", [0, 2])]
    assert splits.train.name(1) == f"line 7 of {name}"


def test_tabs_keep_blanks_in_words(tmp_path):
    splits = texts(file(tmp_path, "New\u00a0York\tB-x\n#1 fan\tO\n"), targets="tokens")
    assert splits.train.texts[0].as_py() == ["New\u00a0York", "#1 fan"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"alone", "one column: a line holds a word and its tag"),
        (b"\tO", "the word is empty"),
        (b"x\t", "the tag is empty"),
        (b"caf\xe9\tO", r"the word is no UTF-8 \(byte 0xe9; .*\)"),
        (b"a\0b\tO", "the word holds a NUL character"),
    ],
)
def test_a_broken_line_is_named_or_its_sentence_left_out(tmp_path, caplog, line, message):
    root = file(tmp_path, b"a\tO\nb\tB-x\n\nc\tO\n" + line + b"\nd\tO\n\ne\tO\n")
    with pytest.raises(UserError, match=f"^line 5 of t.conll: {message}; data.on_broken=skip"):
        texts(root, targets="tokens")
    splits = texts(root, targets="tokens", on_broken="skip")
    assert [text for text, _ in sentences(splits.train)] == ["a b", "e"]
    assert "1 broken line left out" in caplog.text


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ("a O\n", None, "all words have the tag 'O': at least 2 different ones are needed"),
        ("a B-x\nb O\n\nc x\n", None, "the tag 'x' of line 4 of train.conll is none of O, B-<type> and I-<type>"),
        ("a B-x\nb B-\n", None, "the tag 'B-' of line 1 of train.conll is none of O"),
        ("a B-x\nb S-x\n", None, "the tag 'S-x' of line 1 of train.conll is none of O"),
        ("a B-x\nb O\n", "a B-y\n", "the tag 'B-y' of line 1 of test.conll is no tag of the training split"),
        ("a NN\nb VB\n", "a NNP\n", "the tag 'NNP' of line 1 of test.conll is no tag .* did you mean 'NN'"),
        ("\n", None, "train.conll holds no line of data"),
    ],
)
def test_tags_that_do_not_fit(tmp_path, train, test, message):
    file(tmp_path, train, "train.conll")
    if test is not None:
        file(tmp_path, test, "test.conll")
    with pytest.raises(UserError, match=message):
        texts(tmp_path, targets="tokens")


def test_another_tag_of_a_known_type_is_a_class(tmp_path):
    file(tmp_path, "a I-x\nb O\n", "train.conll")
    file(tmp_path, "a B-x\n", "test.conll")
    splits = texts(tmp_path, targets="tokens")
    assert splits.classes == ["O", "B-x", "I-x"]
    assert splits.test.tags.tolist() == [1]


def test_parts_of_speech_are_tags_too(tmp_path):
    assert texts(file(tmp_path, "a NN\nb VB\n"), targets="tokens").classes == ["NN", "VB"]


def test_words_need_the_task(tmp_path):
    with pytest.raises(UserError, match=r"t\.conll holds words with tags: set task=tokens"):
        texts(file(tmp_path, "a O\n"))


def test_a_text_per_line(tmp_path):
    root = file(tmp_path, b"\xef\xbb\xbfone text\r\n\r\nanother\r\n", "t.txt")
    splits = texts(root, targets="none")
    assert [splits.train.text(i) for i in (0, 1)] == ["one text", "another"]
    assert splits.train.name(1) == "line 3 of t.txt"
    with pytest.raises(UserError, match=r"t\.txt holds texts without labels: set data\.root= to a file with labels"):
        texts(root)
    with pytest.raises(UserError, match=r"line 2 of t\.txt: the text is no UTF-8 \(byte 0xff; .*\)"):
        texts(file(tmp_path, b"one\nt\xffo\n", "t.txt"), targets="none")
