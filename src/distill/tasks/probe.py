"""How well frozen embeddings tell the classes of a labelled folder apart."""

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill.data import DataModule, ImageDataModule
from distill.data.sources import image_folder
from distill.utils.errors import UserError
from distill.utils.modes import evaluating

NEIGHBOURS = 20
STEPS = 1000  # of logistic regression
BATCH = 64


class Probe:
    """k-NN and logistic regression on the embeddings of a labelled folder.

    Both learn from its training images and are tested on its test images (``test/``, else a fifth, split off by class
    with a fixed seed). Images are prepared as those of the run's own evaluation.

    Args:
        root: train/<class>/… and test/<class>/…, or <class>/… alone.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._images: ImageDataModule | None = None

    def prepare(self, data: DataModule[Any]) -> None:
        """Lists the images, to be prepared as the run's data.

        Raises:
            UserError: there is no such folder, or it has no class folders; the run's data are no images.
        """
        if not Path(self.root).is_dir():
            raise UserError(f"task.probe: folder {self.root} does not exist")
        if not isinstance(data, ImageDataModule):
            raise UserError("task.probe: it is a folder of images, and the data are none")
        preprocess = data.preprocess
        try:
            images = ImageDataModule.from_options(
                partial(image_folder, self.root, preprocess.channels),
                batch_size=BATCH,
                image_size=preprocess.height,
                mean=list(preprocess.mean),
                std=list(preprocess.std),
                in_memory=False,
                num_workers=0,
            )
            images.setup()
        except UserError as error:
            raise UserError(f"task.probe: {error}") from error
        self._images = images

    def _embedded(self, model: nn.Module, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings, float32 (N, D) with length 1, and class numbers (N,) of a split."""
        assert self._images is not None
        embeddings: list[Tensor] = []
        targets: list[Tensor] = []
        device = next(model.parameters()).device
        with evaluating(model):
            for batch in self._images.evaluation_loader(split):  # type: ignore[arg-type]
                embeddings.append(model(batch.inputs.to(device)).float().cpu())
                targets.append(batch.target)
        return torch.nn.functional.normalize(torch.cat(embeddings), dim=1).numpy(), torch.cat(targets).numpy()

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Accuracies of a model that gives embeddings (N, D), as shares: "knn" and "probe".

        k-NN takes the class of most of 20 neighbours by cosine, fewer where there are fewer images; logistic regression
        (scikit-learn's, C = 1) takes embeddings of length 1, standardised.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        x, y = self._embedded(model, "train")
        test_x, test_y = self._embedded(model, "test")
        knn = KNeighborsClassifier(min(NEIGHBOURS, len(x)), metric="cosine")
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # what 1,000 steps reach is what is measured
            linear.fit(x, y)
        return {
            "knn": float(knn.fit(x, y).score(test_x, test_y)),
            "probe": float(linear.score(test_x, test_y)),
        }
