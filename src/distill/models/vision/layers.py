"""What several models share: a stage of blocks, the customary initialisation, a channel shuffle."""

from collections.abc import Callable

from torch import Tensor, nn


def stage(
    block: Callable[[int, int, int], nn.Module], in_planes: int, planes: int, depth: int, stride: int
) -> nn.Sequential:
    """``depth`` blocks, built as ``block(in_planes, planes, stride)``; only the first one strides."""
    rest = [block(planes, planes, 1) for _ in range(depth - 1)]
    return nn.Sequential(block(in_planes, planes, stride), *rest)


def init_convolutions(model: nn.Module) -> None:
    """Initialise convolutions from N(0, 2 / fan_out) with zero biases, and normalisations to scale 1 and shift 0.

    Linear layers are left alone: the papers differ there.

    Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of ``groups`` equal groups, so that the next grouped convolution sees all of them.

    Channel ``i * groups + g`` of the result, N×C×H×W as x, is channel ``g * (C / groups) + i`` of x. Unlike torch's
    ``channel_shuffle`` it consists of views and one copy, which every export and compiler knows.

    Source: Zhang et al., "ShuffleNet", CVPR 2018, arXiv:1707.01083.
    """
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
