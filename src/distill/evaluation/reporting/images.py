"""Samples inside a page. Pages without any are made without torch."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor


def _as_image(image: Image.Image | Tensor) -> Image.Image:
    import torch
    from PIL import Image
    from torchvision.transforms.functional import to_pil_image

    if isinstance(image, Image.Image):
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    pixels = image
    if pixels.dtype != torch.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        if low < 0 or high > 1:  # normalized by unknown statistics: from the darkest to the brightest
            pixels = (pixels - low) / max(high - low, 1e-12)
        pixels = (255 * pixels).round().to(torch.uint8)
    picture: Image.Image = to_pil_image(pixels if pixels.shape[0] in (1, 3) else pixels[:1])
    return picture


def shown(sample: Image.Image | Tensor | str) -> dict[str, Any]:
    """A sample as the pages show it: a text, or the address of an image, and whether that is small."""
    import torch

    if isinstance(sample, str):
        return {"text": sample}
    side = max(sample.shape[1:]) if isinstance(sample, torch.Tensor) else max(sample.size)
    return {"uri": data_uri(sample), "small": side <= 64}


def data_uri(image: Image.Image | Tensor, max_side: int = 128) -> str:
    """A PNG (a JPEG, where the image was made smaller) as a ``data:`` address.

    Args:
        image: a PIL image; or a tensor (C, H, W), uint8 or float in 0..1, of which other than 1 or 3 channels the
            first is shown.
        max_side: its longer side in pixels; smaller images stay as they are.
    """
    picture = _as_image(image).copy()
    file_format = "JPEG" if max(picture.size) > max_side else "PNG"
    picture.thumbnail((max_side, max_side))
    return _encoded(picture, file_format)


def _encoded(picture: Image.Image, file_format: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **({"quality": 85} if file_format == "JPEG" else {"optimize": True}))
    return f"data:image/{file_format.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def pointed_at(samples: Iterable[Image.Image | Tensor | str], side: int = 48) -> dict[str, Any]:
    """What is shown at the pointer, by number: the beginnings of texts, or all images as the tiles of one."""
    from PIL import Image

    samples = list(samples)
    texts = [textwrap.shorten(sample, 300, placeholder=" …") for sample in samples if isinstance(sample, str)]
    if texts or not samples:
        return {"texts": texts}
    tiles = [_as_image(sample).copy() for sample in samples if not isinstance(sample, str)]
    side = min(side, max(max(tile.size) for tile in tiles))
    columns = math.ceil(math.sqrt(len(tiles)))
    sheet = Image.new("RGB", (columns * side, -(-len(tiles) // columns) * side), "white")
    for i, tile in enumerate(tiles):
        tile.thumbnail((side, side))
        sheet.paste(tile, (i % columns * side, i // columns * side))
    return {"uri": _encoded(sheet, "JPEG"), "columns": columns}
