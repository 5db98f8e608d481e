"""The teacher's embedding, pooled or dense, learnt through a linear projection: cosine or mean squared distance."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.adapters import adapt, as_map, map_shapes
from distill.losses.checks import full_precision, same_shape, upcast, zero

Distance = Literal["cosine", "mse"]
DISTANCES = ("cosine", "mse")


@full_precision
def embedding_loss(student_embedding: Tensor, teacher_embedding: Tensor, distance: Distance = "cosine") -> Tensor:
    """The mean distance of vectors: cosine, 1 − s·t / (‖s‖ ‖t‖); mse, the mean over their elements of (s − t)².

    Args:
        student_embedding: s, projected: vectors (N, D), or maps (N, D, H, W), of which every position is a vector.
        teacher_embedding: t, of the same shape.
        distance: "cosine" or "mse".

    Returns:
        A scalar; of cosines in [0, 2] and without unit, else in squared units of the embedding.

    Raises:
        ValueError: the shapes differ, or the distance is unknown.

    Source: Ranzinger et al. 2024, "AM-RADIO: Agglomerative Vision Foundation Model", arXiv:2312.06709, which takes
    cosines of pooled embeddings and mostly of dense ones, through a head per teacher; here the head is one linear map,
    as the regressor of Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", arXiv:1412.6550.

    Example:
        >>> import torch
        >>> embedding_loss(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])).item()
        1.0
    """
    same_shape(student_embedding, teacher_embedding, "student_embedding", "teacher_embedding")
    if distance == "cosine":
        return (1 - F.cosine_similarity(student_embedding, teacher_embedding, dim=1)).mean()
    return F.mse_loss(student_embedding, teacher_embedding)


class Projected(nn.Module):
    """A distance through a projection that is trained with the student and left behind with the loss.

    Args:
        distance: "cosine", or "mse", which also learns the length of the teacher's vectors.
        standardize: each element of the teacher's vectors has its mean taken off and is divided by its deviation, both
            of the batch in training and running ones otherwise (a BatchNorm without parameters). Behind a ReLU all
            vectors point the same way, and their mean alone would be most of what is learnt (Ranzinger et al. 2024,
            "PHI-S: Distribution Balancing for Label-Free Multi-Teacher Distillation", arXiv:2410.01680).

    Raises:
        ValueError: another distance.
    """

    fixed = ("distance", "standardize")  # no schedule can change them

    def __init__(self, distance: Distance = "cosine", standardize: bool = True) -> None:
        super().__init__()
        if distance not in DISTANCES:
            raise ValueError(f"distance must be one of {', '.join(DISTANCES)}, got {distance!r}")
        self.distance = distance
        self.standardize = standardize
        self.projection: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The distance of a projected embedding; 0 of a training batch that cannot be standardised."""
        if self.training and self.standardize and teacher[:, 0].numel() < 2:
            return zero(student)
        with torch.autocast(teacher.device.type, enabled=False):
            teacher = self.norm(upcast(teacher))
        return embedding_loss(student, teacher, self.distance)


class EmbeddingMatch(Projected):
    """:func:`embedding_loss` of what the classifiers read, the student's through a linear layer."""

    def build(self, student_embedding: Sequence[int], teacher_embedding: Sequence[int]) -> None:
        self.projection = nn.Linear(student_embedding[1], teacher_embedding[1])
        self.norm = nn.BatchNorm1d(teacher_embedding[1], affine=False) if self.standardize else nn.Identity()

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor) -> Tensor:
        return self.loss(adapt(self.projection, student_embedding), teacher_embedding)


class DenseMatch(Projected):
    """:func:`embedding_loss` at every position of a map, the student's through a 1×1 convolution.

    The student's map is interpolated (bilinear, antialiased) to the teacher's H × W. Tokens (N, L, D) become maps, see
    :func:`~distill.losses.adapters.as_map`.
    """

    def build(self, student_feature: Sequence[int], teacher_feature: Sequence[int]) -> None:
        student, teacher = map_shapes(student_feature, teacher_feature)
        self.projection = nn.Conv2d(student[1], teacher[1], kernel_size=1)
        self.norm = nn.BatchNorm2d(teacher[1], affine=False) if self.standardize else nn.Identity()

    def forward(self, student_feature: Tensor, teacher_feature: Tensor) -> Tensor:
        teacher = as_map(teacher_feature)
        student = adapt(self.projection, as_map(student_feature))
        if student.shape[2:] != teacher.shape[2:]:
            size = (teacher.shape[2], teacher.shape[3])
            student = F.interpolate(student, size, mode="bilinear", antialias=True)
        return self.loss(student, teacher)
