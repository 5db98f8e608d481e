"""Sources: functions that return ``Splits``; a user's own lives anywhere and is named in ``data.source._target_``."""

from distill.data.sources.csv import csv as csv
from distill.data.sources.folder import image_folder as image_folder
from distill.data.sources.huggingface import huggingface as huggingface
from distill.data.sources.masks import masks as masks
from distill.data.sources.parquet import parquet as parquet
from distill.data.sources.published import (
    cifar10 as cifar10,
    cifar100 as cifar100,
    digits as digits,
    fashion_mnist as fashion_mnist,
    imagenet as imagenet,
)
from distill.data.sources.text_files import texts as texts
