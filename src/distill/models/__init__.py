"""The models: the field's CIFAR zoo, torchvision's ResNets for any image size, anything of torchvision and timm,
segmenters, and text models of transformers.
"""

from distill.models.hub.segmentation import (
    segformer as segformer,
    torchvision_segmenter as torchvision_segmenter,
)
from distill.models.hub.vision import timm_model as timm_model, torchvision_model as torchvision_model
from distill.models.text.factories import (
    bert_model as bert_model,
    hf_model as hf_model,
    llama_model as llama_model,
)
from distill.models.text.from_teacher import from_teacher as from_teacher
from distill.models.vision.imagenet import resnet18 as resnet18, resnet34 as resnet34, resnet50 as resnet50
from distill.models.vision.mobilenetv2 import MobileNetV2 as MobileNetV2, mobilenetv2 as mobilenetv2
from distill.models.vision.resnet import (
    ResNet as ResNet,
    resnet8 as resnet8,
    resnet8x4 as resnet8x4,
    resnet14 as resnet14,
    resnet20 as resnet20,
    resnet32 as resnet32,
    resnet32x4 as resnet32x4,
    resnet44 as resnet44,
    resnet56 as resnet56,
    resnet110 as resnet110,
)
from distill.models.vision.shufflenetv1 import ShuffleNetV1 as ShuffleNetV1, shufflenetv1 as shufflenetv1
from distill.models.vision.shufflenetv2 import ShuffleNetV2 as ShuffleNetV2, shufflenetv2 as shufflenetv2
from distill.models.vision.unet import UNet as UNet, unet as unet
from distill.models.vision.vgg import VGG as VGG, vgg8 as vgg8, vgg13 as vgg13
from distill.models.vision.wrn import (
    WideResNet as WideResNet,
    wrn_16_1 as wrn_16_1,
    wrn_16_2 as wrn_16_2,
    wrn_40_1 as wrn_40_1,
    wrn_40_2 as wrn_40_2,
)
