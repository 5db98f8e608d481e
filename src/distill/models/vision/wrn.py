"""The wide residual networks for CIFAR: pre-activation blocks, three stages."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import init_convolutions, stage
from distill.utils.errors import UserError


class WideBlock(nn.Module):
    """Pre-activation block: conv2(relu(bn2(conv1(a)))) + shortcut with a = relu(bn1(x)).

    The shortcut is x itself where the channel counts agree, else a 1×1 convolution of a.
    Shapes: N×C×H×W to N×``planes``×H/``stride``×W/``stride``.
    """

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.convShortcut: nn.Module | None = None
        if in_planes != planes:
            self.convShortcut = nn.Conv2d(in_planes, planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        shortcut: Tensor = x if self.convShortcut is None else self.convShortcut(active)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + shortcut


def _wide_stage(in_planes: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    """A stage under the name ``layer``, as in the checkpoints of the published results."""
    return nn.Sequential(OrderedDict(layer=stage(WideBlock, in_planes, planes, blocks, stride)))


class WideResNet(nn.Module):
    """A wide residual network of depth 6n + 4: a 3×3 stem, three stages of n blocks, mean pooling, one linear layer.

    Any image size works. There is no dropout. Maps of a 32×32 image: 32×32 (stem), 32×32, 16×16, 8×8.

    Args:
        depth: 6n + 4 with n >= 1, e.g. 10, 16, 28, 40.
        widen: Factor on the stage widths 16, 32, 64, at least 1; 64 × ``widen`` is the embedding's size.
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.

    Attributes:
        stages: Module paths of the stem and the three stages; each output is taken before normalisation and ReLU.

    Raises:
        UserError: ``depth`` is not 6n + 4, or another size is too small.

    Source: Zagoruyko and Komodakis, "Wide Residual Networks", BMVC 2016, arXiv:1605.07146.
    """

    stages: tuple[str, ...] = ("conv1", "block1", "block2", "block3")

    def __init__(self, depth: int, widen: int = 1, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        if depth < 10 or (depth - 4) % 6:
            raise UserError(f"depth must be 6n + 4 with n >= 1 (10, 16, 22, 28, 34, 40, ...), got {depth!r}")
        if widen < 1:
            raise UserError(f"widen must be an integer of at least 1, got {widen!r}")
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.block1 = _wide_stage(16, 16 * widen, blocks, stride=1)
        self.block2 = _wide_stage(16 * widen, 32 * widen, blocks, stride=2)
        self.block3 = _wide_stage(32 * widen, 64 * widen, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)
        init_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        x = F.relu(self.bn1(x))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def wrn_16_1(num_classes: int = 100, in_channels: int = 3) -> WideResNet:
    """WRN-16-1: 180,916 parameters at 100 classes, 26.7 M MACs on a 32×32 image."""
    return WideResNet(16, 1, num_classes, in_channels)


def wrn_16_2(num_classes: int = 100, in_channels: int = 3) -> WideResNet:
    """WRN-16-2: 703,284 parameters at 100 classes, 101.1 M MACs on a 32×32 image."""
    return WideResNet(16, 2, num_classes, in_channels)


def wrn_40_1(num_classes: int = 100, in_channels: int = 3) -> WideResNet:
    """WRN-40-1: 569,780 parameters at 100 classes, 83.3 M MACs on a 32×32 image."""
    return WideResNet(40, 1, num_classes, in_channels)


def wrn_40_2(num_classes: int = 100, in_channels: int = 3) -> WideResNet:
    """WRN-40-2: 2,255,156 parameters at 100 classes, 327.6 M MACs on a 32×32 image."""
    return WideResNet(40, 2, num_classes, in_channels)
