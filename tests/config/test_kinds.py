"""Data, their options and models are of one kind."""

import re
from dataclasses import fields

import pytest

from distill.config import kinds
from distill.config.schema import typed
from distill.config.validation import check
from distill.data import DataOptions, ImageOptions
from distill.data.text.datamodule import TextOptions
from distill.utils.errors import UserError
from jobs import composed

TEXT = ("data=text", "data.root=texts.txt", "teacher=hf", "teacher.name=bert")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*TEXT, "data.image_size=32"), "data.image_size=32 is an option of images, and data=text has texts"),
        ((*TEXT, "data.augment.flip=true"), "data.augment.flip=True is an option of images"),
        ((*TEXT, "data.mean=[0.5]"), "data.mean=[0.5] is an option of images"),
        ((*TEXT, "data.image=file"), "data.image=file is an option of images"),
        (("data.max_length=16",), "data.max_length=16 is an option of texts, and data=digits has images"),
        (("data.tokenizer=bert",), "data.tokenizer=bert is an option of texts"),
        ((*TEXT, "model=resnet8"), "model: resnet8 takes images, and data=text has texts"),
        (("data=text", "teacher=resnet20", "model=hf", "model.name=b"), "teacher: resnet20 takes images"),
        (("model=bert_tiny", "teacher=hf", "teacher.name=b"), "model: a BERT (bert_tiny, …) takes texts"),
        (("model=bert_tiny",), "model: a BERT (bert_tiny, …) takes texts, and data=digits has images: choose"),
        (("data=text", "teacher=resnet20", "model=bert_tiny"), "teacher: resnet20 takes images, and data=text has"),
        (("data=text", "teacher=resnet20"), "teacher: resnet20 takes images, and data=text has texts"),
        (("model=from_teacher",), "model: from_teacher takes texts, and data=digits has images"),
        (("data=text", "data.root=x"), "data=text needs a teacher, an encoder of transformers: teacher.name=<folder"),
        (("data=text", "data.root=x", "kd=none"), "data=text needs a teacher, an encoder"),  # of which it is cut
        (("data=text", "data.root=x", "kd=none", "model=hf"), "data=text needs a model, an encoder of transf"),
        (("data=text", "data.root=x", "kd=none", "model=bert_tiny"), "data=text needs a tokenizer: model.tokenizer=<"),
        (("data=text", "data.root=x", "kd=kd", "model=hf", "model.name=b"), "data=text needs a teacher, an encoder"),
        ((*TEXT, "model=hf"), "data=text needs a model, an encoder of transformers: model.name=<"),
        ((*TEXT, "model.name=other"), "model.name=other: model=from_teacher takes its layers from"),
        (("data=text", "teacher=hf", "teacher.name=bert"), "data=text needs the texts: data.root=<file or folder>"),
        ((*TEXT, "compile=true"), "code for all lengths gained nothing (docs/text.md): leave"),
        ((*TEXT, "data.max_length=0"), "data.max_length must be at least 8, got 0"),
        ((*TEXT, "data.max_length=7"), "data.max_length must be at least 8, got 7"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_does_not_fit_is_refused(overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check(typed(composed(*overrides)))


def test_what_fits_is_taken():
    check(typed(composed(*TEXT)))
    check(typed(composed(*TEXT, "model=bert_tiny", "data.max_length=16", "data.num_workers=1")))
    check(typed(composed("data.augment.flip=true", "data.image_size=16")))
    check(typed(composed("data=text", "data.root=texts.txt", "model=hf", "model.name=bert", "kd=tfkd")))  # no teacher


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("teacher.name=./none",), "teacher.name: there is no folder ./none"),
        (("teacher.name=file",), "teacher.name: file is a file: name its folder"),
        (("teacher.name=empty",), "teacher.name: folder empty has no config.json"),
        (("teacher.name=bare",), "teacher.name: folder bare holds no tokenizer"),
        (("teacher.name=bert", "model=hf", "model.name=./none"), "model.name: there is no folder ./none"),
        (("teacher.name=bert", "model=hf", "model.name=bare"), "model.name: folder bare holds no tokenizer"),
        (("teacher.name=bare", "model=hf", "model.name=bert"), "teacher.name: folder bare holds no tokenizer"),
        (("teacher.name=bert", "teacher.tokenizer=empty"), "teacher.tokenizer: folder empty holds no tokenizer"),
        (("teacher.name=bert", "data.tokenizer=empty"), "data.tokenizer: folder empty holds no tokenizer"),
        (("teacher.name=bert", "data.teacher_tokenizer=empty"), "data.teacher_tokenizer: folder empty holds no"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_folder_that_is_none_is_named_by_the_key_that_named_it(overrides, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    for folder in ("empty", "bare"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bare" / "config.json").touch()
    with pytest.raises(UserError, match=re.escape(message)):
        check(typed(composed("data=text", "data.root=x", *overrides)))


def test_a_student_alone_needs_no_teacher():
    alone = ("data=text", "data.root=texts.txt", "kd=none")
    check(typed(composed(*alone, "model=hf", "model.name=bert")))
    check(typed(composed(*alone, "model=bert_tiny", "model.tokenizer=bert")))


def test_options_of_a_kind_are_those_of_its_data():
    shared = {each.name for each in fields(DataOptions)}
    images, texts = ({each.name for each in fields(options)} for options in (ImageOptions, TextOptions))
    assert images - shared - {"largest", "on_broken"} == {*kinds.OF_IMAGES} - {"image"}
    assert texts - shared - {"keys"} == {*kinds.OF_TEXTS} - {"text", "text_pair"}
