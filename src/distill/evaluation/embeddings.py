"""Evaluation of models whose outputs are embeddings: likeness to the teacher's, and the samples it places otherwise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor

from distill.evaluation.results import MetricScores
from distill.tasks.base import Task
from distill.tasks.similarity import cosines
from distill.training.roles import BASELINE, STUDENT, Role

FEWEST = 4  # samples of which one can be placed otherwise


def reference(roles: Mapping[Role, Any]) -> Role:
    """The model that all are measured against: the last one that taught the student."""
    return [role for role in roles if role not in (STUDENT, BASELINE)][-1]


def scores(task: Task, output: Tensor, teacher: Tensor) -> MetricScores:
    """The task's metrics of embeddings (N, D) against the teacher's (N, E) of the same samples."""
    return MetricScores(task.measure(output, torch.zeros(len(output)), teacher=teacher), {})


def row_spearman(student: Tensor, teacher: Tensor) -> Tensor:
    """For each sample Spearman's ρ between its cosines with all others under the two models, float64 (M,).

    Args:
        student: embeddings (M, D).
        teacher: embeddings (M, E) of the same samples.

    Example:
        >>> e = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [-1.0, 0.3]])
        >>> row_spearman(e, 2 * e).round(decimals=6)
        tensor([1., 1., 1., 1.], dtype=torch.float64)
    """
    others = ~torch.eye(len(student), dtype=torch.bool)
    ranks = [
        torch.from_numpy(rankdata(cosines(each)[others].reshape(len(each), -1).numpy(), axis=1))
        for each in (student, teacher)
    ]
    centred = [F.normalize(rank - rank.mean(1, keepdim=True), dim=1) for rank in ranks]
    return (centred[0] * centred[1]).sum(1)


def nearest(embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Of each sample the most alike other one, int64 (M,), and their cosine, float64 (M,)."""
    values, rows = cosines(embedding).fill_diagonal_(-2).max(1)
    return rows, values


@dataclass(frozen=True)
class Misplaced:
    """The samples that a student places otherwise than its teacher.

    Attributes:
        positions: among the samples, those with the lowest ρ first.
        spearman: of each of them.
        nearest: by role, for each of them the position of the nearest other sample, and the cosine.
    """

    positions: list[int]
    spearman: list[float]
    nearest: dict[Role, list[tuple[int, float]]]


def misplaced(outputs: Mapping[Role, Tensor], among: Tensor, shown: int) -> Misplaced:
    """The samples whose neighbourhood differs most, of those at the positions ``among`` (M,).

    Args:
        outputs: of every model, (N, D).
        among: which are compared with each other.
        shown: how many.
    """
    if len(among) < FEWEST:
        return Misplaced([], [], {role: [] for role in outputs})
    student, teacher = (outputs[role][among] for role in (STUDENT, reference(outputs)))
    rho = row_spearman(student, teacher)
    rows = rho.argsort(stable=True)[:shown]
    found = {}
    for role, output in outputs.items():
        neighbours, alike = nearest(output[among])
        found[role] = [(int(among[neighbours[row]]), float(alike[row])) for row in rows.tolist()]
    return Misplaced(among[rows].tolist(), rho[rows].tolist(), found)


def samples(found: Misplaced, origin: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Each sample with its ρ, and its nearest neighbour in every model.

    Args:
        found: the samples.
        origin: of a position the sample's index, and its file and text if it has them.
    """
    return [
        {**origin(position), "spearman": rho}
        | {str(role): {"nearest": origin(near[i][0]), "cosine": near[i][1]} for role, near in found.nearest.items()}
        for i, (position, rho) in enumerate(zip(found.positions, found.spearman, strict=True))
    ]
