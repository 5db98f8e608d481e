"""What several models share: the check of their arguments, the customary initialisation, a channel shuffle."""

from torch import Tensor, nn

from distill.utils.errors import UserError


def check_sizes(num_classes: int, in_channels: int, image_size: int | None = None) -> None:
    """Check the arguments every factory takes.

    Args:
        num_classes: Number of logits, at least 2.
        in_channels: Channels of the input image, at least 1.
        image_size: Side of the input image in pixels, at least 1; None where the model does not ask.

    Raises:
        UserError: A value is not an integer, or is too small; the message names the argument and the value.

    Example:
        >>> check_sizes(num_classes=10, in_channels=1, image_size=8)
    """
    least = {"num_classes": (num_classes, 2), "in_channels": (in_channels, 1)}
    if image_size is not None:
        least["image_size"] = (image_size, 1)
    for argument, (value, minimum) in least.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise UserError(f"{argument} must be an integer of at least {minimum}, got {value!r}")


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
