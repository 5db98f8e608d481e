"""The deployed model: the student with or without its normalisation."""

import copy

import torch
from torch import Tensor, nn

from distill.data import Preprocess


class Deployed(nn.Module):
    """Pixels to logits: (x · unit − mean) / std, then the model.

    Args:
        model: in eval mode; it is copied.
        preprocess: mean and std.
        dtype: of the pixels; uint8 is divided by 255.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: nn.Module, preprocess: Preprocess, dtype: torch.dtype) -> None:
        super().__init__()
        self.model = plain(model)
        mean, std = (torch.tensor(v)[:, None, None] for v in (list(preprocess.mean), list(preprocess.std)))
        self.register_buffer("scale", (1 / 255 if dtype == torch.uint8 else 1.0) / std)
        self.register_buffer("shift", mean / std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of images (N, C, H, W)."""
        logits: Tensor = self.model(images.to(torch.float32) * self.scale - self.shift)
        return logits


def plain(model: nn.Module) -> nn.Module:
    """A frozen copy in eval mode and contiguous memory format, as exporters need it."""
    frozen = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    return frozen.to(memory_format=torch.contiguous_format)
