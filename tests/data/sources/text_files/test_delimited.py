import csv
import io

import pytest

from distill.data.sources import texts
from distill.utils.errors import UserError

# The headers of GLUE's files and a line of each, made up; a quotation mark there is nothing but that.
GLUE = {
    "SST-2": ("sentence\tlabel", 'a "smart , \t1', 'a "smart , '),
    "MRPC": (
        "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
        '1\t5\t6\tHe said "no\tShe "did',
        ('He said "no', 'She "did'),
    ),
    "QQP": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "0\t1\t2\tWhy ?\tHow ?\t1", ("Why ?", "How ?")),
    "QNLI": ("index\tquestion\tsentence\tlabel", '0\tWho "?\tHe .\tentailment', ('Who "?', "He .")),
    "RTE": ("index\tsentence1\tsentence2\tlabel", "0\tA .\tB .\tentailment", ("A .", "B .")),
    "MNLI": (
        "index\tpromptID\tpairID\tgenre\tsentence1\tsentence2\tlabel1\tgold_label",
        "0\t1\t1n\tgov\tA .\tB .\tneutral\tneutral",
        ("A .", "B ."),
    ),
    "STS-B": ("index\tgenre\tyear\tsentence1\tsentence2\tscore", "0\tnews\t2012\tA .\tB .\t1", ("A .", "B .")),
}


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


@pytest.mark.parametrize("name", GLUE)
def test_glue(tmp_path, name):
    header, line, expected = GLUE[name]
    splits = texts(table(tmp_path, f"{header}\n{line}\n{line}\n", "train.tsv"))
    assert [splits.train.text(i) for i in (0, 1)] == [expected] * 2


def test_a_folder_of_glue_whose_test_set_has_no_labels(tmp_path, caplog):
    table(tmp_path, "sentence\tlabel\n" + "a\t0\nb\t1\n" * 9, "train.tsv")
    table(tmp_path, "sentence\tlabel\nc\t1\n", "dev.tsv")
    table(tmp_path, "index\tsentence\n0\td\n", "test.tsv")
    splits = texts(tmp_path)
    assert (len(splits.train), len(splits.val), splits.test) == (18, 1, None)
    assert "the test split (line 2 of test.tsv, …) has no labels: it is left out" in caplog.text
    table(tmp_path, "sentence\tlabel\nc\t-1\n", "test.tsv")
    assert texts(tmp_path).test is None


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_a_writer_of_csv_wrote(tmp_path, delimiter, suffix, quoting):
    if suffix == "tsv" and delimiter != "\t":
        pytest.skip("a TSV file has tabs")
    rows = [
        ('he said "no"', "a"),
        ("two\nlines, and; more", "b"),
        ('"all"', "a"),
        ("tab\tbed", "b"),
        ("x" * 200_000, "a"),
    ]
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
    writer.writerows([("text", "label"), *rows])
    splits = texts(table(tmp_path, file.getvalue(), f"t.{suffix}", "utf-8-sig"))
    assert [splits.train.text(i) for i in range(5)] == [text.replace("\r\n", "\n") for text, _ in rows]
    assert splits.train.name(2) == f"line 5 of t.{suffix}"
    assert csv.field_size_limit() == 131072


def test_tabs_alone_and_quotation_marks_doubled_by_pandas(tmp_path):
    splits = texts(table(tmp_path, 'text\tlabel\n"he said ""no"""\ta\n"smart\tb\n"whole"\ta\n', "t.tsv"))
    assert [splits.train.text(i) for i in range(3)] == ['he said "no"', '"smart', '"whole"']


def test_another_encoding(tmp_path):
    splits = texts(table(tmp_path, "text,label\ncafé,a\n", encoding="latin-1"), encoding="latin-1")
    assert splits.train.text(0) == "café"


def test_columns_named_for_a_file_without_a_header(tmp_path):
    root = table(tmp_path, "gj04\t1\t\tOur friends .\ngj04\t0\t*\tThey a .\n", "t.tsv")
    splits = texts(root, columns=["source", "label", "star", "sentence"])
    assert [splits.train.text(i) for i in (0, 1)] == ["Our friends .", "They a ."]
    with pytest.raises(UserError, match=r"could be taken for the text column.*data\.source\.columns=\[\.\.\.\]"):
        texts(root)


def test_a_column_without_a_name_is_passed_over(tmp_path):
    splits = texts(table(tmp_path, ",text,label,\n0,one,a,\n1,two,b,\n"))
    assert [splits.train.text(i) for i in (0, 1)] == ["one", "two"]
    assert splits.classes == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"x", r"1 values, and there are 2 columns \(text, label\)"),
        (b"x,a,b", "3 values, and there are 2 columns"),
        (b'"x"y,a', "no CSV: ',' expected after '\"'"),
        (b" ,a", "the text is empty"),
        (b"x\0y,a", "the text holds a NUL character"),
        (b"caf\xe9,a", r"the text is no UTF-8 \(byte 0xe9; .*\)"),
        (b"x,caf\xe9", r"the label is no UTF-8 \(byte 0xe9; .*\)"),
        (b"x,", "the label is empty"),
        (b"x\ry,a", "a carriage return stands in it, outside of quotation marks"),
    ],
)
def test_a_broken_line_is_named_or_left_out(tmp_path, caplog, line, message):
    root = table(tmp_path, b'text,label\r\n"two\r\nlines",a\r\n' + line + b"\r\nlast,b\r\n")
    with pytest.raises(UserError, match=f"^line 4 of t.csv: {message}.*; data.on_broken=skip") as caught:
        texts(root)
    assert "\n" not in str(caught.value)
    splits = texts(root, on_broken="skip")
    assert [splits.train.text(i) for i in range(2)] == ["two\r\nlines", "last"]
    assert "1 broken line left out" in caplog.text


@pytest.mark.parametrize("on_broken", ["error", "skip"])
@pytest.mark.parametrize(
    ("line", "more", "message"),
    [
        ('"a stray quote,b', "", "a quote opened in line 22 is never closed$"),
        (
            '"a stray quote,b',
            'a "quoted word,b\n',
            r"a quote opened in line 22 is never closed \(the next one, in line 91",
        ),
        ('"closed","b', '"closed","b"\n', r"a quote opened in line 22 is never closed \(the next one, in line 91"),
    ],
)
def test_an_open_quote_is_an_error_as_the_lines_behind_it_are_lost(tmp_path, on_broken, line, more, message):
    rows = [f"text {i},{'ab'[i % 2]}" for i in range(89)]
    rows[20] = line
    root = table(tmp_path, "text,label\n" + "".join(f"{row}\n" for row in rows) + more)
    with pytest.raises(UserError, match=f"^t.csv: {message}"):
        texts(root, on_broken=on_broken)


def test_a_tsv_file_whose_quotation_marks_do_not_pair_is_read_without_them(tmp_path, caplog):
    root = table(tmp_path, 'text\tlabel\n"stray\ta\nno tab\nlast\tb\n', "t.tsv")
    splits = texts(root, on_broken="skip")
    assert [splits.train.text(i) for i in range(2)] == ['"stray', "last"]
    assert "1 broken line left out (line 3 of t.tsv: 1 values" in caplog.text


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "t.csv: the first line must name each column once, got nothing"),
        ("text,label\n", {}, "t.csv holds no line of data"),
        ("text,text\nx,y\n", {}, "the first line must name each column once, got text, text"),
        ("text,label\nx,\n", {"on_broken": "skip"}, "t.csv holds no line of data: all are broken"),
        ("text,label\nx,a\n", {"text": "txt"}, "there is no 'txt' as the text column .* did you mean 'text'"),
        (b"te\xe9xt,label\nx,a\n", {}, r"line 1 of t.csv: the name of a column is no UTF-8 \(byte 0xe9; .*\)"),
        (
            "a text of more than three words,a\nx,b\n",
            {},
            r"t.csv: the first line must name the columns, and it holds 'a text of .*data\.source\.columns=\[",
        ),
        ("text,label,split\nx,a,trian\n", {}, "line 2 of t.csv: the split 'trian' is none of train, val, test"),
        ("text,label,split\nx,a,test\n", {}, r"no row is of the split train \(column 'split'\)"),
        ("text,label\nx,a\n", {"targets": "tokens"}, "task=tokens reads .conll, .txt, .jsonl and .parquet files"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, text, options, message):
    with pytest.raises(UserError, match=message):
        texts(table(tmp_path, text), **options)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.conll"])
def test_a_binary_file_is_no_text_file(tmp_path, name):
    root = table(tmp_path, bytes(range(256)) * 40, name)
    with pytest.raises(UserError, match=rf"{name} is no text file$"):
        texts(root, on_broken="skip", targets="tokens" if name == "t.conll" else "classes")


def test_a_column_of_splits(tmp_path):
    splits = texts(table(tmp_path, "text,label,part\na,x,train\nb,y,dev\nc,y,Train\nd,x,test\n"), split_column="part")
    assert [splits.train.text(i) for i in range(2)] == ["a", "c"]
    assert (splits.val.text(0), splits.test.text(0)) == ("b", "d")
    assert (splits.val.name(0), splits.train.name(1)) == ("line 3 of t.csv", "line 4 of t.csv")
    assert (splits.val.labels.tolist(), splits.train.labels.tolist()) == ([1], [0, 1])
    with pytest.raises(UserError, match="the label of line 3 of t.csv is 'z', which is no class of the training split"):
        texts(table(tmp_path, "text,label,split\na,x,train\nb,z,test\nc,y,train\n"))


@pytest.mark.parametrize(("text", "label"), [(1e30, 2.5), ("1e+30", "2.5"), ("1e30", "2.50"), (1e30, [2.5])])
def test_columns_whose_names_look_like_numbers(tmp_path, text, label):
    """The command line makes numbers of them."""
    path = table(tmp_path, "1e30,2.50,parts\nx,1,3\ny,0,2\n")
    splits = texts(path, text=text, label=label)
    assert splits.train.text(1) == "y"
    assert splits.train.labels.tolist() == [1, 0]
    with pytest.raises(UserError, match="there is no 3 as the text column"):
        texts(path, text=3, label=label)


def test_columns_are_a_list_of_names(tmp_path):
    path = table(tmp_path, "x,1\ny,0\n")
    assert texts(path, columns=[1e30, "label"], text=1e30).train.text(0) == "x"
    with pytest.raises(UserError, match="data.source.columns must be a list of names, got 'text'"):
        texts(path, columns="text")
    with pytest.raises(UserError, match=r"the first line must name the columns, and it holds '1'; .*columns=\["):
        texts(path)
