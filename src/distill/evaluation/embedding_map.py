"""Embeddings projected to two dimensions."""

import torch
from torch import Tensor

from distill.utils.errors import UserError


def pca(embedding: Tensor) -> Tensor:
    """The first two principal components.

    Args:
        embedding: float32 (M, D).

    Returns:
        float32 (M, 2); the second column is zero where D or M is 1. Of each component the largest loading is positive.
    """
    centred = embedding.double() - embedding.double().mean(0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    directions = directions[:2]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    points = centred @ (directions * largest.sign()).T
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1])).float()


def tsne(embedding: Tensor) -> Tensor:
    """t-SNE, started from PCA, seed 0, perplexity 30 (a third of the samples where they are few).

    Args:
        embedding: float32 (M, D), M > 3.

    Returns:
        float32 (M, 2).

    Source: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE"; scikit-learn's implementation.
    """
    from sklearn.manifold import TSNE

    start = pca(embedding)
    start = 1e-4 * start / start[:, 0].std().clamp(min=1e-12)
    model = TSNE(perplexity=min(30.0, (len(embedding) - 1) / 3), init=start.numpy(), random_state=0)
    return torch.from_numpy(model.fit_transform(embedding.numpy())).float()


def project(embedding: Tensor, method: str) -> Tensor:
    """The map (M, 2) by the method "tsne" or "pca"; of few samples always by PCA."""
    if method not in ("tsne", "pca"):
        raise UserError(f"map must be tsne or pca, got {method!r}")
    return tsne(embedding) if method == "tsne" and len(embedding) > 30 else pca(embedding)
