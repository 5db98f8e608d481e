"""Normalisation, and the evaluation transform of one image as plain numbers that a file can hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from distill.data.vision.augment import fit
from distill.data.vision.masked import letterbox
from distill.data.vision.pixels import convert, to_tensor


@dataclass(frozen=True)
class Scaling:
    """Normalise pixels: (x/255 − mean)/std for uint8, (x − mean)/std for float; per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise (B, C, H, W) to float32; ``images`` stay as they are."""
        unit = 1 / 255 if images.dtype == torch.uint8 else 1.0
        mean, std = self._constants(images.device)
        return images.to(torch.float32, copy=True).mul_(unit / std).sub_(mean / std)

    @lru_cache(maxsize=4)  # noqa: B019 - a few devices, and as long as the data
    def _constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, (C, 1, 1), copied to a device once."""
        mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True)
class Preprocess:
    """The evaluation transform of one image: convert, resize, centre crop, normalise.

    The shorter side is resized to ``resize`` pixels (bilinear, antialiased), the central ``height`` × ``width`` is
    cut out, uint8 counts as x/255, and each channel becomes (x − mean) / std.

    Args:
        channels: 1 (grey) or 3 (RGB) for images; what the tensors have otherwise.
        height: of the result in pixels.
        width: of the result.
        resize: the shorter side before the cut (of a square); None: images must have the size.
        mean: per channel, for pixels in 0..1.
        std: likewise.
        pad: instead, the whole image is seen, as ``letterbox`` makes it; of runs with masks.
    """

    kind: ClassVar[str] = "images"
    channels: int
    height: int
    width: int
    resize: int | None
    mean: Sequence[float]
    std: Sequence[float]
    pad: bool = False

    def __call__(self, image: Image.Image | Tensor) -> Tensor:
        """One image as a float32 tensor (C, H, W).

        Raises:
            ValueError: another number of channels or type (a tensor), or another size where images are not resized.
        """
        if isinstance(image, Image.Image):
            image = convert(image, self.channels)
        elif image.dim() != 3 or image.shape[0] != self.channels:
            raise ValueError(f"an image must be ({self.channels}, H, W), got {tuple(image.shape)}")
        if self.pad:
            image = letterbox(image, self.height)
        elif self.resize is not None:
            image = fit(image, self.height, self.resize)
        pixels = to_tensor(image)
        if pixels.shape[1:] != (self.height, self.width):
            actual = "×".join(map(str, pixels.shape[1:]))
            raise ValueError(f"an image must have {self.height}×{self.width} pixels, got {actual}")
        return self.scaling(pixels[None])[0]

    @property
    def scaling(self) -> Scaling:
        """The normalisation alone, of a batch."""
        return Scaling(tuple(self.mean), tuple(self.std))

    def batch(self, images: Sequence[Image.Image | Tensor]) -> Tensor:
        """Several images, float32 (B, C, H, W)."""
        return torch.stack([self(image) for image in images])

    def model_arguments(self, output: str) -> dict[str, Any]:
        """Channels and image size, as models of images take them."""
        del output
        return {"in_channels": self.channels, "image_size": self.height}

    def example(self, n: int = 1) -> Tensor:
        """Noise of the right shape, float32 (n, C, H, W); always the same."""
        shape = (n, self.channels, self.height, self.width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def as_dict(self) -> dict[str, Any]:
        """Its arguments in JSON's types."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}
