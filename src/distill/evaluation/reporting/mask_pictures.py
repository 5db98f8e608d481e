"""An image with masks as a page shows it: the truth, what every model sees, and where it is wrong."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from distill.data.targets import IGNORED_PIXEL
from distill.data.vision.masked import letterbox
from distill.evaluation.evaluate import Evaluation
from distill.evaluation.reporting.images import data_uri
from distill.training.roles import STUDENT, Role
from distill.utils.palette import PALETTE

SIDE = 160  # pixels to which small pictures are enlarged
RIGHT, NONE = (235, 235, 235), (170, 170, 170)  # of the picture of differences: grey where there is no class
WRONG = {  # by what the student and the other model are
    (False, True): ((213, 94, 0), "the student alone is wrong"),
    (True, False): ((0, 114, 178), "the {other} alone is wrong"),
    (False, False): ((90, 90, 90), "both are wrong"),
}  # colours that most colour-blind readers tell apart (Okabe and Ito)
ALONE = (213, 94, 0)


def coloured(classes: Tensor) -> Image.Image:
    """A class map (H, W), uint8, in the colours of VOC's masks; grey where there is no class."""
    picture = Image.fromarray(classes.numpy(), mode="P")
    picture.putpalette(PALETTE[:-3] + bytes(NONE))
    return picture.convert("RGB")


def difference(target: Tensor, student: Tensor, other: Tensor | None) -> Image.Image:
    """Where a student's class map is wrong, and another model's; see ``WRONG``."""
    picture = torch.full((*target.shape, 3), RIGHT[0], dtype=torch.uint8)
    right = student == target
    if other is None:
        picture[~right] = torch.tensor(ALONE, dtype=torch.uint8)
    else:
        for (mine, theirs), (colour, _) in WRONG.items():
            picture[(right == mine) & ((other == target) == theirs)] = torch.tensor(colour, dtype=torch.uint8)
    picture[target == IGNORED_PIXEL] = torch.tensor(NONE, dtype=torch.uint8)
    return Image.fromarray(picture.numpy())


def legend(other: Role | None, maps: Iterable[Tensor], names: Sequence[str]) -> list[tuple[str, str]]:
    """The colours of the classes in some maps, and of the picture of differences, and what each says."""
    present = sorted({number for each in maps for number in torch.unique(each).tolist()} - {IGNORED_PIXEL})
    classes = [(_css(PALETTE[3 * number : 3 * number + 3]), names[number]) for number in present]
    wrong = {ALONE: "wrong"} if other is None else {c: text.format(other=other.label) for c, text in WRONG.values()}
    return [*classes, *((_css(colour), text) for colour, text in wrong.items()), (_css(NONE), "no class")]


def _css(colour: Iterable[int]) -> str:
    return f"rgb{tuple(colour)}"


def card(position: int, evaluation: Evaluation, loss: float) -> dict[str, Any]:
    """The card of one sample; ``loss``: the share of its pixels that the student has wrong."""
    subject, row = evaluation.subject, int(evaluation.index[position])
    target, reference = evaluation.target[position], evaluation.reference
    seen = {role: each.logits[position] for role, each in evaluation.predictions.items()}
    image = subject.data.show(subject.split, row)
    if subject.run.image_preprocess.pad:
        image = letterbox(image, subject.run.image_preprocess.height)
    pictures = [("image", image), ("truth", coloured(target)), *((r.label, coloured(m)) for r, m in seen.items())]
    other = seen.get(reference) if reference is not None else None
    pictures.append(("difference", difference(target, seen[STUDENT], other)))
    valid = target != IGNORED_PIXEL
    shares = {role: float((classes == target)[valid].float().mean().nan_to_num()) for role, classes in seen.items()}
    return {
        "pictures": [(name, data_uri(_enlarged(picture), max_side=SIDE)) for name, picture in pictures],
        "legend": legend(reference if other is not None else None, [target, *seen.values()], subject.run.classes),
        "answers": [
            {"who": role.label, "right": None, "probability": "", "answer": f"{100 * share:.1f} % of pixels right"}
            for role, share in shares.items()
        ],
        "index": row, "file": subject.data.file(subject.split, row), "class": "",
        "measure": f"{100 * loss:.1f} % of pixels wrong",
    }  # fmt: skip


def _enlarged(picture: Any) -> Any:
    """A small picture with whole multiples of its pixels."""
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(np.asarray(picture.permute(1, 2, 0)).squeeze())
    times = max(1, SIDE // max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
