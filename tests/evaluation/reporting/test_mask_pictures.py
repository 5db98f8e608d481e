"""Class maps on a page: the colours of classes, and where which model is wrong."""

import numpy as np
import torch

from distill.evaluation.reporting.mask_pictures import ALONE, NONE, RIGHT, WRONG, coloured, difference, legend
from distill.training.roles import TEACHER

TARGET = torch.tensor([[0, 1, 2, 255]], dtype=torch.uint8)


def test_classes_have_the_colours_of_vocs_masks():
    pixels = np.asarray(coloured(TARGET))[0].tolist()
    assert pixels == [[0, 0, 0], [128, 0, 0], [0, 128, 0], list(NONE)]


def test_every_kind_of_error_has_its_colour():
    student, teacher = (torch.tensor([each], dtype=torch.uint8) for each in ([0, 2, 1, 0], [1, 1, 0, 0]))
    pixels = [tuple(pixel) for pixel in np.asarray(difference(TARGET, student, teacher))[0].tolist()]
    assert pixels == [WRONG[True, False][0], WRONG[False, True][0], WRONG[False, False][0], NONE]
    alone = [tuple(pixel) for pixel in np.asarray(difference(TARGET, student, None))[0].tolist()]
    assert alone == [RIGHT, ALONE, ALONE, NONE]


def test_the_legend_names_the_classes_that_are_seen():
    said = legend(TEACHER, [TARGET[:, :1], TARGET[:, 2:]], ["road", "car", "sky"])
    assert said[:2] == [("rgb(0, 0, 0)", "road"), ("rgb(0, 128, 0)", "sky")]
    assert [text for _, text in said[2:]] == [
        "the student alone is wrong", "the teacher alone is wrong", "both are wrong", "no class"
    ]  # fmt: skip
    assert legend(None, [], [])[0][1] == "wrong"
