"""What several models share: the customary initialisation, a channel shuffle."""

from torch import Tensor, nn


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

    Args:
        x: Feature map, N×C×H×W.
        groups: Number of groups; divides C.

    Returns:
        Feature map, N×C×H×W, whose channel ``i * groups + g`` is channel ``g * (C / groups) + i`` of ``x``.

    Source: Zhang et al., "ShuffleNet", CVPR 2018, arXiv:1707.01083.

    Example:
        >>> import torch
        >>> channel_shuffle(torch.arange(6.0).view(1, 6, 1, 1), groups=2).flatten().tolist()
        [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    """
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
