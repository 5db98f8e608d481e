"""Image files, and predictions for them."""

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.evaluation.predict.masks import MaskFiles
from distill.evaluation.predict.writers import Prediction, answers
from distill.utils.errors import UserError, one_line
from distill.utils.files import image_suffixes, list_files, open_file

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor

    from distill.evaluation.predictor import Predictor


def list_images(arguments: Iterable[str], lines: Iterable[str]) -> list[str]:
    """The paths of all files that the arguments name.

    Args:
        arguments: files, folders, "-".
        lines: of stdin, read where "-" is given.

    Raises:
        UserError: there is none.
    """
    suffixes = image_suffixes()
    paths: list[str] = []
    for name in arguments:
        if name == "-":
            paths += [line.rstrip("\r\n") for line in lines if line.strip()]
        elif Path(name).is_dir():
            inside = sorted(str(Path(name, file.name)) for file in list_files(Path(name), suffixes))
            if not inside:
                log.warning(f"{name}: no images in this folder")
            paths += inside
        else:
            paths.append(name)
    if not any(map(os.path.exists, paths)):
        if not arguments:
            raise UserError("no images given: name files, folders, or - for stdin")
        names = ", ".join((paths or list(arguments))[:3]) + (", ..." if len(paths) > 3 else "")
        raise UserError(f"no images found in {names}")
    return paths


def _decode(path: str, predictor: "Predictor") -> "Tensor | str":
    """The preprocessed image (C, H, W), or in one line why it cannot be read."""
    from PIL import UnidentifiedImageError

    from distill.data.vision.images import open_image

    try:
        with open_file(path) as file, open_image(file) as image:
            decoded: Tensor = predictor.preprocess(image)
            return decoded
    except UnidentifiedImageError:
        return "not an image that Pillow can read"
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        return one_line(error)


def predict_images(
    predictor: "Predictor", files: list[str], top: int, batch_size: int, threads: int, masks: Path | None = None
) -> Iterator[Prediction]:
    """One prediction per file, in order; while one batch is classified, the next one is decoded.

    Args:
        predictor: see :func:`distill.load`.
        files: their paths.
        top: classes per prediction.
        batch_size: images per forward.
        threads: number that decode.
        masks: of task=segmentation, the folder in which class maps are written; None: they are not.
    """
    written = MaskFiles(masks, files) if predictor.task.targets == "masks" else None
    batches = [files[start : start + batch_size] for start in range(0, max(len(files), 1), batch_size)]
    with ThreadPoolExecutor(threads) as pool:
        following = [pool.submit(_decode, file, predictor) for file in batches[0]]
        for batch, next_batch in zip(batches, [*batches[1:], []], strict=True):
            current, following = following, [pool.submit(_decode, file, predictor) for file in next_batch]
            yield from _predicted(predictor, batch, [future.result() for future in current], top, written)


def _predicted(
    predictor: "Predictor", files: list[str], images: "list[Tensor | str]", top: int, masks: MaskFiles | None
) -> Iterator[Prediction]:
    import torch

    decoded = [image for image in images if not isinstance(image, str)]
    outputs: Any = predictor.outputs(torch.stack(decoded)) if decoded else None
    if decoded and masks is not None:
        read = [file for file, image in zip(files, images, strict=True) if not isinstance(image, str)]
        maps = (masks.class_map(predictor, *pair) for pair in zip(read, outputs, strict=True))
        found = iter([answers(predictor, each[None], top)[0] for each in maps])
    else:
        found = iter(answers(predictor, outputs, top) if decoded else ())
    for file, image in zip(files, images, strict=True):
        if isinstance(image, str):
            yield Prediction({"file": file}, error=image)
        else:
            yield Prediction({"file": file}, next(found))
