"""Validation of the arguments that every model takes."""

from distill.utils.errors import UserError


def check_sizes(num_classes: int, in_channels: int, image_size: int | None = None) -> None:
    """A UserError that names the argument, unless there are at least 1 output, 1 channel and, where given, 1 pixel."""
    sizes = [("num_classes", num_classes, 1), ("in_channels", in_channels, 1)]
    if image_size is not None:
        sizes.append(("image_size", image_size, 1))
    for argument, value, minimum in sizes:
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise UserError(f"{argument} must be an integer of at least {minimum}, got {value!r}")
