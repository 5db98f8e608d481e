"""What is deployed: the student, perhaps behind its normalisation, without anything of the training."""

import copy

import torch
from torch import Tensor, nn

from distill.data import Preprocess


class Deployed(nn.Module):
    """Pixels to logits: (x · unit − mean) / std, then the model.

    Args:
        model: in eval mode; copied, so that memory formats and hooks of the original stay its own.
        preprocess: whose mean and std are used.
        dtype: of the pixels: uint8 counts as x/255, float32 as it is.
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
    """A frozen copy in eval mode and plain memory format, which exporters read best."""
    frozen = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    return frozen.to(memory_format=torch.contiguous_format)
