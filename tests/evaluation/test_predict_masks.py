"""Where class maps of predictions are written."""

import pytest

from distill.evaluation.predict.masks import MaskFiles
from distill.utils.errors import UserError


def test_no_class_map_takes_the_place_of_an_image(tmp_path):
    photos = [str(tmp_path / "photos" / name) for name in ("a.png", "b.jpg")]
    with pytest.raises(UserError, match=r"the class map of .*a\.png would replace .*a\.png"):
        MaskFiles(tmp_path / "photos", photos)
    MaskFiles(tmp_path / "maps", photos)
    MaskFiles(None, photos)


def test_two_images_of_one_name_are_told_apart_or_refused(tmp_path):
    with pytest.raises(UserError, match="would both be a.png"):
        MaskFiles(tmp_path / "maps", [str(tmp_path / name) for name in ("a.png", "a.jpg")])
