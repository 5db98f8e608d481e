"""What was written into folders and tables is what is read from them, whatever the names and the order."""

import tempfile
import unicodedata
from pathlib import Path

import numpy as np
from hypothesis import given, strategies as st
from PIL import Image

from data_helpers import encoded, picture, write_parquet
from distill.data.sources import image_folder, parquet
from properties import FILES

NOT_CLASSES = {"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval"}
CHARACTERS = st.characters(
    min_codepoint=33, max_codepoint=0x2FFF, exclude_characters="/\\", exclude_categories=["C", "Z", "M"]
)
NAMES = st.text(CHARACTERS, min_size=1, max_size=8).filter(
    lambda name: name[0] not in "._" and name.lower() not in NOT_CLASSES and unicodedata.normalize("NFC", name) == name
)
CLASSES = st.lists(NAMES, min_size=2, max_size=4, unique_by=str.casefold)
LABELS = st.lists(st.integers(0, 2), min_size=6, max_size=12).filter(lambda labels: {*labels} == {0, 1, 2})


@FILES
@given(CLASSES, st.data())
def test_every_image_of_a_folder_has_its_classes_name(classes, data):
    with tempfile.TemporaryDirectory() as place:
        written = {}
        for number, name in enumerate(sorted({*classes})):
            for image in range(data.draw(st.integers(1, 3))):
                path = Path(place) / name / f"{image}.png"
                path.parent.mkdir(exist_ok=True)
                picture(10 * number + image).save(path)
                written[f"{name}/{image}.png"] = name
        splits = image_folder(place)
        read = {
            splits.train.names[row]: splits.classes[label] for row, label in enumerate(splits.train.labels.tolist())
        }
        assert read == written
        for row, name in enumerate(splits.train.names):
            np.testing.assert_array_equal(
                np.asarray(splits.train.image(row)), np.asarray(Image.open(f"{place}/{name}"))
            )


@FILES
@given(LABELS, st.permutations(["ant", "bee", "cow"]), st.integers(1, 5))
def test_rows_of_tables_keep_label_name_and_picture(labels, names, first):
    """In one file or in two; where a file lists its names in another order, the name decides."""
    with tempfile.TemporaryDirectory() as place:
        contents = [encoded(number) for number in range(len(labels))]
        other = names[::-1]
        write_parquet(Path(place) / "train-0.parquet", labels[:first], names, contents[:first])
        moved = [other.index(names[label]) for label in labels[first:]]
        write_parquet(Path(place) / "train-1.parquet", moved, other, contents[first:])
        splits = parquet(f"{place}/train*.parquet")
        assert [splits.classes[label] for label in splits.train.labels.tolist()] == [names[label] for label in labels]
        for row in range(len(labels)):
            np.testing.assert_array_equal(np.asarray(splits.train.image(row)), np.asarray(picture(row)))
