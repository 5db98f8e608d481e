"""MobileNetV2 for CIFAR: inverted residuals with linear bottlenecks, at half width."""

from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.vision.layers import init_convolutions
from distill.utils.errors import UserError

# Channels at width 1, number of blocks, stride of the first; the first row is not expanded.
ROWS = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
STEM = 32
EMBEDDING = 1280


class InvertedResidual(nn.Module):
    """Widen by a 1×1 convolution, filter each channel by a 3×3, narrow by a linear 1×1; add x where shapes agree.

    Shapes: N×C×H×W to N×``planes``×H/``stride``×W/``stride``.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_planes * expansion
        self.residual = stride == 1 and in_planes == planes
        self.conv = nn.Sequential(
            *_conv_bn_relu(in_planes, hidden, kernel=1, stride=1),
            *_conv_bn_relu(hidden, hidden, kernel=3, stride=stride, groups=hidden),
            nn.Conv2d(hidden, planes, 1, bias=False),
            nn.BatchNorm2d(planes),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


class MobileNetV2(nn.Module):
    """MobileNetV2 for small images: a 3×3 stem of stride 2, seven groups of inverted residuals, one linear layer.

    One stride fewer than on ImageNet (in the second group), ReLU for ReLU6, no dropout. Any image size works; up to
    16 pixels the last map is 1×1. Maps of a 32×32 image (of ``stages``): 16×16, 16×16, 8×8, 4×4, 2×2.

    Args:
        expansion: Factor by which a block widens its input, at least 1.
        width: Factor on the channel counts, at least 1/16; the embedding stays 1280.
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.

    Attributes:
        stages: Module paths of the stem and of the groups that come before a change of resolution, and the last.

    Raises:
        UserError: A size is too small.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381.
    """

    stages: tuple[str, ...] = ("conv1", "blocks.1", "blocks.2", "blocks.4", "blocks.6")

    def __init__(self, expansion: int = 6, width: float = 0.5, num_classes: int = 100, in_channels: int = 3) -> None:
        super().__init__()
        check_sizes(num_classes, in_channels)
        if expansion < 1:
            raise UserError(f"expansion must be an integer of at least 1, got {expansion!r}")
        if width < 1 / 16:
            raise UserError(f"width must be at least 1/16, got {width!r}")
        planes = int(STEM * width)
        self.conv1 = _conv_bn_relu(in_channels, planes, kernel=3, stride=2)
        self.blocks = nn.ModuleList()
        for row, (channels, repeats, stride) in enumerate(ROWS):
            group = []
            for index in range(repeats):
                out = int(channels * width)
                group.append(InvertedResidual(planes, out, 1 if index else stride, expansion if row else 1))
                planes = out
            self.blocks.append(nn.Sequential(*group))
        self.conv2 = _conv_bn_relu(planes, EMBEDDING, kernel=1, stride=1)
        linear = nn.Linear(EMBEDDING, num_classes)
        self.classifier = nn.Sequential(linear)
        init_convolutions(self)
        nn.init.normal_(linear.weight, std=0.01)
        nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for group in self.blocks:
            x = group(x)
        x = self.conv2(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def _conv_bn_relu(in_planes: int, planes: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_planes, planes, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(planes),
        nn.ReLU(),
    )


def mobilenetv2(num_classes: int = 100, in_channels: int = 3) -> MobileNetV2:
    """MobileNetV2, expansion 6, width 0.5: 812,836 parameters at 100 classes, 6.5 M MACs on a 32×32 image."""
    return MobileNetV2(6, 0.5, num_classes, in_channels)
