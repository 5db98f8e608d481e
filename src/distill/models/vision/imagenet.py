"""torchvision's ResNets with a stem that fits the image's size."""

from typing import Any

from torch import nn

from distill.models.checks import check_sizes
from distill.models.hub.vision import torchvision_model

SMALL = 64


def resnet18(num_classes: int, in_channels: int = 3, image_size: int = 224, pretrained: bool = False) -> nn.Module:
    """ResNet-18: 11,220,132 parameters at 100 classes with the small-image stem, 11,227,812 with the ImageNet stem;
    maps at 32×32: 64×32×32, 64×32×32, 128×16×16, 256×8×8, 512×4×4; see ``resnet50``.
    """
    return _resnet("resnet18", num_classes, in_channels, image_size, pretrained)


def resnet34(num_classes: int, in_channels: int = 3, image_size: int = 224, pretrained: bool = False) -> nn.Module:
    """ResNet-34: 21,328,292 parameters at 100 classes with the small-image stem, 21,335,972 with the ImageNet stem;
    maps at 32×32: 64×32×32, 64×32×32, 128×16×16, 256×8×8, 512×4×4; see ``resnet50``.
    """
    return _resnet("resnet34", num_classes, in_channels, image_size, pretrained)


def resnet50(num_classes: int, in_channels: int = 3, image_size: int = 224, pretrained: bool = False) -> nn.Module:
    """ResNet-50: 23,705,252 parameters at 100 classes with the small-image stem, 23,712,932 with the ImageNet stem.

    Feature maps at 32×32: 64×32×32, 256×32×32, 512×16×16, 1024×8×8, 2048×4×4 (1298 M MACs); embedding 2048.
    The attribute ``stages`` holds the module paths of the stem (its max pooling, the identity in the small one) and
    the four stages.

    Args:
        num_classes: Number of outputs, at least 1.
        in_channels: Channels of the input image, at least 1.
        image_size: Side of the input image in pixels. Up to 64 the stem is a 3×3 convolution of stride 1 and no
            pooling, above that ImageNet's 7×7 of stride 2 and max pooling.
        pretrained: Load torchvision's default weights, as ``torchvision_model`` does; the small stem's convolution
            is new even then.

    Returns:
        torchvision's model: images N×``in_channels``×H×W to logits N×``num_classes``.

    Raises:
        UserError: A size is too small, or the weights cannot be had.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385.
    """
    return _resnet("resnet50", num_classes, in_channels, image_size, pretrained)


def _resnet(name: str, num_classes: int, in_channels: int, image_size: int, pretrained: bool) -> nn.Module:
    check_sizes(num_classes, in_channels, image_size)
    small = image_size <= SMALL
    # The small stem's convolution is new, so there the one for RGB need not be adapted first.
    model: Any = torchvision_model(name, num_classes, 3 if small else in_channels, pretrained=pretrained)
    if small:
        model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
        model.maxpool = nn.Identity()
    model.stages = ("maxpool", "layer1", "layer2", "layer3", "layer4")
    resnet: nn.Module = model
    return resnet
