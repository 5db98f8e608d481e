"""The check of the arguments that every model takes."""

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
