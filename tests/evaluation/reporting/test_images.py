"""What is shown at the pointer of a map."""

import base64
import io

import torch
from PIL import Image

from distill.evaluation.reporting.images import pointed_at


def test_images_are_the_tiles_of_one_picture_row_by_row():
    values = [0, 60, 120, 180, 240]
    found = pointed_at(torch.full((1, 16, 16), value, dtype=torch.uint8) for value in values)
    sheet = Image.open(io.BytesIO(base64.b64decode(found["uri"].partition(",")[2]))).convert("L")
    assert (found["columns"], sheet.size) == (3, (48, 32))
    for i, value in enumerate(values):
        assert abs(sheet.getpixel((16 * (i % 3) + 8, 16 * (i // 3) + 8)) - value) < 6


def test_large_images_are_made_smaller_and_keep_their_shape():
    found = pointed_at([Image.new("RGB", (400, 200), "black")])
    sheet = Image.open(io.BytesIO(base64.b64decode(found["uri"].partition(",")[2]))).convert("L")
    assert sheet.size == (48, 48)
    assert sheet.getpixel((24, 12)) < 6
    assert sheet.getpixel((24, 40)) > 249


def test_texts_begin_as_they_do_and_are_marked_where_they_are_cut():
    short, long = pointed_at(["a <b>", "word " * 100])["texts"]
    assert short == "a <b>"
    assert len(long) <= 300
    assert long.endswith("word …")


def test_no_samples():
    assert pointed_at([]) == {"texts": []}
