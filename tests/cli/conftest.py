"""Images as files."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Digits as 12×12 PNG files, six of each class for every split."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for name in "0123456789":
            (folder / split / name).mkdir(parents=True)
            for i in range(6):
                pixels = generator.integers(0, 255, (12, 12), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder
