"""Checks of the values of weights: finite, and of the kind that the model has."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from distill.utils.errors import UserError

EARLIER = "take a checkpoint from before its training failed"


def unfit(tensor: Tensor, own: Tensor) -> str | None:
    """Why a tensor of a file is not the values of the model's own; None: it is."""
    if tensor.is_meta or tensor.layout != torch.strided:
        return "empty (device meta)" if tensor.is_meta else f"sparse ({tensor.layout})"
    same = tensor.is_quantized == own.is_quantized and tensor.is_complex() == own.is_complex()
    return (
        None
        if same and tensor.is_floating_point() >= own.is_floating_point()
        else f"{tensor.dtype}, and {own.dtype} in the model"
    )


def check_finite(
    weights: Mapping[str, Tensor], source: str, usual: Mapping[str, Tensor] | None = None, remedy: str = EARLIER
) -> None:
    """A UserError that names the first tensor with values that are NaN or infinite.

    Args:
        weights: by name.
        source: where they come from, for the message.
        usual: the model's own values, by name; a value may be infinite where this is (a mask of an attention).
        remedy: what the message advises.
    """
    for name, tensor in weights.items():
        finite = torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor)
        if usual is not None and not finite.all():
            finite |= ~torch.isfinite(usual[name])
        if bad := int((~finite).sum()):
            raise UserError(
                f"{source}: tensor '{name}' holds {bad} values of {tensor.numel()} that are NaN or infinite; {remedy}"
            )


def check_start(model: nn.Module, name: str) -> None:
    """A UserError for a model that is to be trained from weights that are NaN, infinite or on the device meta."""
    for path, tensor in chain(model.named_parameters(), model.named_buffers()):
        if tensor.is_meta:
            raise UserError(f"{name} as it is built: tensor '{path}' is empty (device meta); give it values (to_empty)")
    start = {path: weight.detach() for path, weight in model.named_parameters() if weight.requires_grad}
    remedy = "its constructor, or the file that it loads, must give it finite ones"
    check_finite(start, f"{name} as it is built", remedy=remedy)
