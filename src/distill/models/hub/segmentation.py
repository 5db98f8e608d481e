"""Models that give a class per pixel: torchvision's, transformers' SegFormer."""

from typing import Any

from torch import Tensor, nn

from distill.models.checks import check_sizes
from distill.models.hub.vision import convolution_like, fit_convolution, made
from distill.utils.errors import UserError, nearest, require_package

PUBLISHED_CLASSES = 21  # of torchvision's weights: VOC's
SIZES = {  # of SegFormer's encoder: depths and widths of its four stages, width of the decoder
    "b0": ((2, 2, 2, 2), (32, 64, 160, 256), 256),
    "b1": ((2, 2, 2, 2), (64, 128, 320, 512), 256),
    "b2": ((3, 4, 6, 3), (64, 128, 320, 512), 768),
    "b3": ((3, 4, 18, 3), (64, 128, 320, 512), 768),
}


class Segmenter(nn.Module):
    """A segmenter of torchvision that gives its logits at its own stride, and nothing else.

    torchvision's own enlarges them to the image's size (bilinear), which the task does where it needs that; until then
    they take a fraction of the memory. Names of parameters are torchvision's. In training the second head is run, and
    its output is read by its path; otherwise it is not.

    Args:
        model: as torchvision builds it.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = model.backbone, model.classifier
        self.aux_classifier: nn.Module | None = getattr(model, "aux_classifier", None)
        self._takes_all = type(model).__name__ == "LRASPP"  # of the backbone's maps

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C, h, w) of images (N, 3, H, W)."""
        maps = self.backbone(x)
        if self.training and self.aux_classifier is not None:
            self.aux_classifier(maps["aux"])
        logits: Tensor = self.classifier(maps if self._takes_all else maps["out"])
        return logits


def torchvision_segmenter(
    name: str, num_classes: int, in_channels: int = 3, pretrained: bool = False, **kwargs: Any
) -> Segmenter:
    """Build a semantic segmentation model of torchvision, see :class:`Segmenter`.

    Args:
        name: of ``torchvision.models.list_models(module=torchvision.models.segmentation)``.
        num_classes: C, at least 1.
        in_channels: of the images; first convolutions for other than 3 are fitted as those of ``torchvision_model``.
        pretrained: torchvision's default weights, downloaded on first use; last layers are new where C is not 21.
        kwargs: further arguments of the model's builder.

    Raises:
        UserError: an unknown name, a size that is too small, an argument that the builder does not take, or weights
            that cannot be had.

    Example:
        >>> import torch
        >>> torchvision_segmenter("lraspp_mobilenet_v3_large", 5).eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 5, 8, 8])
    """
    check_sizes(num_classes, in_channels)
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models.segmentation)
    if name not in names:
        raise UserError(f"unknown torchvision segmentation model {name!r}: {nearest(name, names)}")
    for argument in ("weights", "weights_backbone"):
        if argument in kwargs:
            raise UserError(f"torchvision model {name!r} takes no argument {argument!r} here: set pretrained=true")
    builder = torchvision.models.get_model_builder(name)
    options = ({} if name.startswith("lraspp") else {"aux_loss": True}) | kwargs

    def build() -> nn.Module:
        weights = torchvision.models.get_model_weights(name).DEFAULT if pretrained else None
        classes = {} if pretrained else {"num_classes": num_classes}
        model: nn.Module = builder(weights=weights, weights_backbone=None, **classes, **options)
        return model

    model = Segmenter(made("torchvision", name, kwargs, pretrained, build))
    if in_channels != 3:
        fit_convolution(model, in_channels, fold=pretrained)
    if pretrained:
        for path, layer in list(model.named_modules()):
            if isinstance(layer, nn.Conv2d) and layer.out_channels == PUBLISHED_CLASSES != num_classes:
                model.set_submodule(path, convolution_like(layer, layer.in_channels, num_classes))
    return model


def segformer(
    num_classes: int,
    in_channels: int = 3,
    name: str | None = None,
    size: str = "b0",
    pretrained: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """A SegFormer of transformers, whose logits have a quarter of the image's height and width.

    Args:
        num_classes: C.
        in_channels: of the images.
        name: a folder, or a name of the Hugging Face Hub; None: a new model of ``size``.
        size: "b0" to "b3" of the paper.
        pretrained: of ``name``, load the weights; else its architecture alone.
        kwargs: further arguments of ``SegformerConfig``.

    Raises:
        UserError: transformers is not installed, an unknown size, or a model that cannot be loaded.

    Source: Xie et al. 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
    arXiv:2105.15203.
    """
    require_package("transformers", "model=segformer", "transformers", "hf")
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    check_sizes(num_classes, in_channels)
    if size not in SIZES:
        raise UserError(f"size={size}: {nearest(size, list(SIZES))}")
    depths, widths, decoder = SIZES[size]
    usual = {"depths": list(depths), "hidden_sizes": list(widths), "decoder_hidden_size": decoder}
    options: dict[str, Any] = {"num_labels": num_classes, "num_channels": in_channels} | kwargs

    def build() -> nn.Module:
        loader: Any = SegformerForSemanticSegmentation
        if name is None or not pretrained:
            config: Any = SegformerConfig
            settings = config(**(usual | options)) if name is None else config.from_pretrained(name, **options)
            model: nn.Module = loader(settings)
        else:
            model = loader.from_pretrained(name, ignore_mismatched_sizes=True, use_safetensors=True, **options)
        return model

    return made("transformers", name or f"segformer {size}", kwargs, pretrained and name is not None, build)
