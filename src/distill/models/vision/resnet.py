"""The CIFAR ResNets: three stages of basic blocks (two 3×3 convolutions and a shortcut each)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import init_convolutions, stage
from distill.utils.errors import UserError

# Channels of the stem and the three stages; their maps of a 32×32 image have 32×32, 32×32, 16×16 and 8×8 pixels.
NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); N×C×H×W to N×``planes``×H/``stride``×W/``stride``."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_planes != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride, bias=False),
                nn.BatchNorm2d(planes),
            )
        self.relu = nn.ReLU()  # a module, so that a hook can read what comes before it

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        active: Tensor = self.relu(out + self.downsample(x))
        return active


class ResNet(nn.Module):
    """A CIFAR ResNet of depth 6n + 2: a 3×3 stem, three stages of n basic blocks, mean pooling, one linear layer.

    The stages halve the image at their start, but for the first; any image size works.

    Args:
        depth: 6n + 2 with n >= 1, e.g. 8, 14, 20, 32, 44, 56, 110.
        widths: Channels of the stem and of the three stages; the last is the embedding's size.
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.

    Attributes:
        stages: Module paths of the stem and the three stages; each output is taken after the ReLU.

    Raises:
        UserError: ``depth`` is not 6n + 2, ``widths`` are not four, or a size is too small.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385 (section 4.2),
    with 1×1 convolution shortcuts where the shape changes.
    """

    stages: tuple[str, ...] = ("relu", "layer1", "layer2", "layer3")

    def __init__(
        self, depth: int, widths: Sequence[int] = NARROW, num_classes: int = 100, in_channels: int = 3
    ) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        if depth < 8 or (depth - 2) % 6:
            raise UserError(f"depth must be 6n + 2 with n >= 1 (8, 14, 20, ...), got {depth!r}")
        if len(widths) != 4:
            raise UserError(f"widths must be four (the stem and three stages), got {list(widths)!r}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU()
        self.layer1 = stage(BasicBlock, widths[0], widths[1], blocks, stride=1)
        self.layer2 = stage(BasicBlock, widths[1], widths[2], blocks, stride=2)
        self.layer3 = stage(BasicBlock, widths[2], widths[3], blocks, stride=2)
        self.fc = nn.Linear(widths[3], num_classes)
        init_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def resnet8(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-8: 83,892 parameters at 100 classes, 12.5 M MACs on a 32×32 image."""
    return ResNet(8, NARROW, num_classes, in_channels)


def resnet14(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-14: 181,108 parameters at 100 classes, 26.7 M MACs on a 32×32 image."""
    return ResNet(14, NARROW, num_classes, in_channels)


def resnet20(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-20: 278,324 parameters at 100 classes, 40.8 M MACs on a 32×32 image."""
    return ResNet(20, NARROW, num_classes, in_channels)


def resnet32(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-32: 472,756 parameters at 100 classes, 69.1 M MACs on a 32×32 image."""
    return ResNet(32, NARROW, num_classes, in_channels)


def resnet44(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-44: 667,188 parameters at 100 classes, 97.4 M MACs on a 32×32 image."""
    return ResNet(44, NARROW, num_classes, in_channels)


def resnet56(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-56: 861,620 parameters at 100 classes, 125.8 M MACs on a 32×32 image."""
    return ResNet(56, NARROW, num_classes, in_channels)


def resnet110(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-110: 1,736,564 parameters at 100 classes, 253.2 M MACs on a 32×32 image."""
    return ResNet(110, NARROW, num_classes, in_channels)


def resnet8x4(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-8, four times as wide: 1,233,540 parameters at 100 classes, 177.1 M MACs on a 32×32 image."""
    return ResNet(8, WIDE, num_classes, in_channels)


def resnet32x4(num_classes: int = 100, in_channels: int = 3) -> ResNet:
    """CIFAR ResNet-32, four times as wide: 7,433,860 parameters at 100 classes, 1083 M MACs on a 32×32 image."""
    return ResNet(32, WIDE, num_classes, in_channels)
