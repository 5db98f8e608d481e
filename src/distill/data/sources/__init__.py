"""Sources: functions that return ``Splits``; a user's own lives anywhere and is named in ``data.source._target_``."""

from distill.data.sources.digits import digits
from distill.data.sources.folder import image_folder
from distill.data.sources.huggingface import huggingface
from distill.data.sources.parquet import parquet
from distill.data.sources.published import cifar10, cifar100, fashion_mnist, imagenet

__all__ = [
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "huggingface",
    "image_folder",
    "imagenet",
    "parquet",
]
