"""The models: the field's CIFAR zoo, torchvision's ResNets for any image size, anything of torchvision and timm."""

from distill.models.hub.vision import timm_model, torchvision_model
from distill.models.vision.imagenet import resnet18, resnet34, resnet50
from distill.models.vision.mobilenetv2 import MobileNetV2, mobilenetv2
from distill.models.vision.resnet import (
    ResNet,
    resnet8,
    resnet8x4,
    resnet14,
    resnet20,
    resnet32,
    resnet32x4,
    resnet44,
    resnet56,
    resnet110,
)
from distill.models.vision.shufflenetv1 import ShuffleNetV1, shufflenetv1
from distill.models.vision.shufflenetv2 import ShuffleNetV2, shufflenetv2
from distill.models.vision.vgg import VGG, vgg8, vgg13
from distill.models.vision.wrn import WideResNet, wrn_16_1, wrn_16_2, wrn_40_1, wrn_40_2

__all__ = [
    "VGG",
    "MobileNetV2",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "WideResNet",
    "mobilenetv2",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "shufflenetv1",
    "shufflenetv2",
    "timm_model",
    "torchvision_model",
    "vgg8",
    "vgg13",
    "wrn_16_1",
    "wrn_16_2",
    "wrn_40_1",
    "wrn_40_2",
]
