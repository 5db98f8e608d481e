"""ShuffleNet (version 1) for CIFAR: grouped 1×1 convolutions with a channel shuffle between them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import channel_shuffle

GROUPS = 3
STEM = 24
WIDTHS = (240, 480, 960)
DEPTHS = (4, 8, 4)


class ShuffleUnit(nn.Module):
    """Grouped 1×1, shuffle, depthwise 3×3, grouped 1×1; joined to x by a sum, or with stride 2 by concatenation.

    Shapes: N×C×H×W to N×``planes``×H/``stride``×W/``stride``. With stride 2 the C channels of the mean-pooled input
    are part of ``planes``.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, first_groups: int) -> None:
        super().__init__()
        self.joins = stride == 2
        self.groups = first_groups
        out_planes = planes - in_planes if self.joins else planes
        mid = out_planes // 4
        self.conv1 = nn.Conv2d(in_planes, mid, 1, groups=first_groups, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride, padding=1, groups=mid, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, out_planes, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(out_planes)
        self.shortcut: nn.Module = nn.AvgPool2d(3, stride=2, padding=1) if self.joins else nn.Identity()
        self.relu = nn.ReLU()  # a module, so that a hook can read what comes before it

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = channel_shuffle(out, self.groups)
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = self.shortcut(x)
        active: Tensor = self.relu(torch.cat([out, shortcut], 1) if self.joins else out + shortcut)
        return active


class ShuffleNetV1(nn.Module):
    """ShuffleNet with 3 groups for small images: a 1×1 stem of stride 1, three stages of units, one linear layer.

    Any image size works; up to 8 pixels the last map is 1×1. Maps of a 32×32 image: 32×32 (stem), 16×16, 8×8, 4×4.
    Weights start at torch's defaults, as in the implementation behind the published results.

    Args:
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.

    Attributes:
        stages: Module paths of the stem's ReLU and the three stages; each output is taken after the ReLU.

    Raises:
        UserError: A size is too small.

    Source: Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices",
    CVPR 2018, arXiv:1707.01083.
    """

    stages: tuple[str, ...] = ("relu", "layer1", "layer2", "layer3")

    def __init__(self, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        # The stem has so few channels that the first 1×1 convolution is not grouped (section 3.2).
        self.layer1 = _stage(STEM, WIDTHS[0], DEPTHS[0], first_groups=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], DEPTHS[1], first_groups=GROUPS)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], DEPTHS[2], first_groups=GROUPS)
        self.linear = nn.Linear(WIDTHS[2], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(in_planes: int, planes: int, units: int, first_groups: int) -> nn.Sequential:
    rest = [ShuffleUnit(planes, planes, stride=1, first_groups=GROUPS) for _ in range(units - 1)]
    return nn.Sequential(ShuffleUnit(in_planes, planes, 2, first_groups), *rest)


def shufflenetv1(num_classes: int = 100, in_channels: int = 3) -> ShuffleNetV1:
    """ShuffleNet, 3 groups: 949,258 parameters at 100 classes, 38.7 M MACs on a 32×32 image."""
    return ShuffleNetV1(num_classes, in_channels)
