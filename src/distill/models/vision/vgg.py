"""The CIFAR VGGs: five blocks of 3×3 convolutions with BatchNorm, and a single linear layer."""

from collections.abc import Sequence

from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import init_convolutions
from distill.utils.errors import UserError

WIDTHS = (64, 128, 256, 512, 512)
LARGE = 64


class VGG(nn.Module):
    """A VGG with BatchNorm: five blocks, max pooling after each of the first three, mean pooling, one linear layer.

    Images of 64 pixels or more are pooled after the fourth block as well. Pooling rounds up, as the strided
    convolutions of the other networks do, so that any image size works.
    Maps of a 32×32 image: 32×32, 16×16, 8×8, 4×4, 4×4.

    Args:
        depths: Convolutions in each of the five blocks.
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.

    Attributes:
        stages: Module paths of the five ReLUs that end the blocks.

    Raises:
        UserError: ``depths`` are not five numbers of at least 1, or a size is too small.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
    arXiv:1409.1556, without its two hidden linear layers.
    """

    stages: tuple[str, ...] = ("relu0", "relu1", "relu2", "relu3", "relu4")

    def __init__(self, depths: Sequence[int], num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        if len(depths) != len(WIDTHS) or min(depths) < 1:
            raise UserError(f"depths must be five numbers of at least 1, got {list(depths)!r}")
        self.block0 = _block(in_channels, WIDTHS[0], depths[0])
        self.block1 = _block(WIDTHS[0], WIDTHS[1], depths[1])
        self.block2 = _block(WIDTHS[1], WIDTHS[2], depths[2])
        self.block3 = _block(WIDTHS[2], WIDTHS[3], depths[3])
        self.block4 = _block(WIDTHS[3], WIDTHS[4], depths[4])
        # One ReLU for each block, so that each stage's output is that of a module.
        self.relu0, self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in WIDTHS)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classifier = nn.Linear(WIDTHS[4], num_classes)
        init_convolutions(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        large = min(x.shape[2:]) >= LARGE
        x = self.pool(self.relu0(self.block0(x)))
        x = self.pool(self.relu1(self.block1(x)))
        x = self.pool(self.relu2(self.block2(x)))
        x = self.relu3(self.block3(x))
        x = self.relu4(self.block4(self.pool(x) if large else x))
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def _block(in_planes: int, planes: int, depth: int) -> nn.Sequential:
    """Build ``depth`` times convolution and BatchNorm with ReLUs between them, none at the end."""
    layers: list[nn.Module] = []
    for index in range(depth):
        if index:
            layers.append(nn.ReLU())
        layers += [nn.Conv2d(planes if index else in_planes, planes, 3, padding=1), nn.BatchNorm2d(planes)]
    return nn.Sequential(*layers)


def vgg8(num_classes: int = 100, in_channels: int = 3) -> VGG:
    """VGG-8 with BatchNorm: 3,965,028 parameters at 100 classes, 96.2 M MACs on a 32×32 image."""
    return VGG((1, 1, 1, 1, 1), num_classes, in_channels)


def vgg13(num_classes: int = 100, in_channels: int = 3) -> VGG:
    """VGG-13 with BatchNorm: 9,462,180 parameters at 100 classes, 284.9 M MACs on a 32×32 image."""
    return VGG((2, 2, 2, 2, 2), num_classes, in_channels)
