"""Scikit-learn's handwritten digits, which come with the package."""

import torch

from distill.data.splits import Splits
from distill.data.vision.images import TensorImages


def digits() -> Splits:
    """1,797 digits, 8×8 in one channel, values 0..16 scaled to 0..255; val and test are carved.

    Source: Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), as scikit-learn ships it.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = torch.from_numpy(data.images * (255 / 16)).round().to(torch.uint8)[:, None]
    return Splits(
        TensorImages(pixels, torch.from_numpy(data.target)), classes=[str(name) for name in data.target_names]
    )
