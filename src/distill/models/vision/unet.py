"""U-Net for small pictures: an encoder, a decoder that is given the encoder's maps, logits at full size."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import init_convolutions
from distill.utils.errors import UserError


def _block(in_planes: int, planes: int) -> nn.Sequential:
    """Two 3×3 convolutions, each with BatchNorm and ReLU."""
    layers: list[nn.Module] = []
    for inner in (in_planes, planes):
        layers += [nn.Conv2d(inner, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Encoder of ``depth`` + 1 levels (each half as large and twice as wide), decoder, 1×1 convolution.

    As in the paper but for BatchNorm, padded convolutions (the output is as large as the image) and upsampling by the
    nearest pixel in place of transposed convolutions. Images may have any size of at least 1 pixel.

    Args:
        num_classes: C.
        in_channels: of the images.
        width: channels of the first level.
        depth: how often the map is halved.

    Attributes:
        stages: the levels of the encoder, and the last of the decoder.

    Source: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    arXiv:1505.04597.

    Example:
        >>> UNet(num_classes=3, width=4, depth=2).eval()(torch.zeros(1, 3, 17, 20)).shape
        torch.Size([1, 3, 17, 20])
    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        for name, value in (("width", width), ("depth", depth)):
            if not isinstance(value, int) or value < 1:
                raise UserError(f"{name} must be an integer of at least 1, got {value!r}")
        planes = [width * 2**level for level in range(depth + 1)]
        inner = zip([in_channels, *planes], planes, strict=False)
        self.encoder = nn.ModuleList(_block(before, after) for before, after in inner)
        self.decoder = nn.ModuleList(_block(2 * each + each, each) for each in reversed(planes[:-1]))
        self.head = nn.Conv2d(width, num_classes, kernel_size=1)
        self.stages = (*(f"encoder.{i}" for i in range(depth + 1)), f"decoder.{depth - 1}")
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C, H, W) of images (N, in_channels, H, W)."""
        maps: list[Tensor] = []
        for i, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2, ceil_mode=True) if i else x)
            maps.append(x)
        for block, skip in zip(self.decoder, reversed(maps[:-1]), strict=True):
            x = block(torch.cat([skip, F.interpolate(x, size=skip.shape[2:], mode="nearest")], dim=1))
        logits: Tensor = self.head(x)
        return logits


def unet(num_classes: int, in_channels: int = 3, width: int = 32, depth: int = 3) -> UNet:
    """See :class:`UNet`."""
    return UNet(num_classes, in_channels, width, depth)
