"""Class maps of image files: at the size of the image, written as palette PNG."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distill.utils.atomic import atomic_path
from distill.utils.errors import UserError
from distill.utils.files import open_file, printable
from distill.utils.palette import PALETTE

if TYPE_CHECKING:
    from torch import Tensor

    from distill.evaluation.predictor import Predictor


class MaskFiles:
    """Where the class map of each image is written: below a folder, by its path below the images' common folder.

    Args:
        folder: of the class maps; None: none is written.
        files: all the images.

    Raises:
        UserError: two images would have the same class map, or one would take the place of an image.
    """

    def __init__(self, folder: Path | None, files: Sequence[str]) -> None:
        parents = [str(Path(file).absolute().parent) for file in files]
        root = Path(os.path.commonpath(parents)) if parents else Path()
        self.folder = folder
        self._paths = {file: Path(file).absolute().relative_to(root).with_suffix(".png") for file in files}
        seen: dict[Path, str] = {}
        images = {Path(file).resolve(): file for file in files}
        for file, path in self._paths.items() if folder is not None else ():
            other = seen.setdefault(path, file)
            if folder is not None and (image := images.get((folder / path).resolve())):
                raise UserError(f"masks={folder}: the class map of {printable(file)} would replace {printable(image)}")
            if other != file:
                raise UserError(f"masks={folder}: {printable(other)} and {printable(file)} would both be {path}")

    def class_map(self, predictor: "Predictor", file: str, output: "Tensor") -> "Tensor":
        """The class map of an image, uint8 (H, W) at its own size; written where there is a folder for it."""
        from distill.data.vision.images import open_image
        from distill.data.vision.pixels import orientation

        with open_file(file) as content, open_image(content) as image:
            height, width = image.height, image.width
            height, width = (width, height) if orientation(image) > 4 else (height, width)
        classes = predictor.class_map(output, height, width)
        if self.folder is not None:
            self._write(self.folder / self._paths[file], classes)
        return classes

    def _write(self, path: Path, classes: "Tensor") -> None:
        from PIL import Image

        picture = Image.fromarray(classes.numpy(), mode="P")
        picture.putpalette(PALETTE)
        with atomic_path(path) as temporary:
            picture.save(temporary, "PNG")
