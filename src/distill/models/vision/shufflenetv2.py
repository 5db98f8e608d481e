"""ShuffleNet V2 for CIFAR: channel splits instead of grouped convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import channel_shuffle

STEM = 24
WIDTHS = (116, 232, 464)
EMBEDDING = 1024
DEPTHS = (4, 8, 4)


class SplitUnit(nn.Module):
    """Leave half of the channels as they are, pass the other half through 1×1, depthwise 3×3, 1×1; then shuffle.

    Shapes: N×``planes``×H×W to the same.
    """

    def __init__(self, planes: int) -> None:
        super().__init__()
        half = planes // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()  # once for both halves, after the shuffle: a hook can read what comes before it

    def forward(self, x: Tensor) -> Tensor:
        kept, out = x.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(out)))
        out = self.bn2(self.conv2(out))
        out = self.bn3(self.conv3(out))
        active: Tensor = self.relu(channel_shuffle(torch.cat([kept, out], 1), groups=2))
        return active


class DownUnit(nn.Module):
    """Halve the resolution on two branches, each of which gives half of the channels; then shuffle.

    Shapes: N×``in_planes``×H×W to N×``planes``×H/2×W/2.
    """

    def __init__(self, in_planes: int, planes: int) -> None:
        super().__init__()
        half = planes // 2
        self.conv1 = nn.Conv2d(in_planes, in_planes, 3, stride=2, padding=1, groups=in_planes, bias=False)
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv2 = nn.Conv2d(in_planes, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(in_planes, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, stride=2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        left = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        right = F.relu(self.bn3(self.conv3(x)))
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        active: Tensor = self.relu(channel_shuffle(torch.cat([left, right], 1), groups=2))
        return active


class ShuffleNetV2(nn.Module):
    """ShuffleNet V2 at width 1 for small images: a 1×1 stem of stride 1, three stages, a 1×1, one linear layer.

    Any image size works; up to 8 pixels the last map is 1×1. Maps of a 32×32 image: 32×32 (stem), 16×16, 8×8, 4×4.
    Weights start at torch's defaults, as in the implementation behind the published results.

    Args:
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.

    Attributes:
        stages: Module paths of the stem's ReLU and the three stages.

    Raises:
        UserError: A size is too small.

    Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018,
    arXiv:1807.11164.
    """

    stages: tuple[str, ...] = ("relu", "layer1", "layer2", "layer3")

    def __init__(self, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        self.conv1 = nn.Conv2d(in_channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        self.layer1 = _stage(STEM, WIDTHS[0], DEPTHS[0])
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], DEPTHS[1])
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], DEPTHS[2])
        self.conv2 = nn.Conv2d(WIDTHS[2], EMBEDDING, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(EMBEDDING)
        self.linear = nn.Linear(EMBEDDING, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def _stage(in_planes: int, planes: int, units: int) -> nn.Sequential:
    return nn.Sequential(DownUnit(in_planes, planes), *(SplitUnit(planes) for _ in range(units - 1)))


def shufflenetv2(num_classes: int = 100, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2, width 1: 1,355,528 parameters at 100 classes, 44.5 M MACs on a 32×32 image."""
    return ShuffleNetV2(num_classes, in_channels)
