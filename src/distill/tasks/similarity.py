"""How alike two models place the same samples: by all pairs of them, and by nearest neighbours."""

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from distill.models.outputs import Outputs
from distill.utils import distributed

SAMPLES = 1000  # that are compared; a matrix of cosines has their square
NEIGHBOURS = 10


def cosines(embedding: Tensor) -> Tensor:
    """Cosines of all pairs of N embeddings (N, D), float64 (N, N)."""
    unit = F.normalize(embedding.double(), dim=1)
    return unit @ unit.T


def spearman_of_cosines(student: Tensor, teacher: Tensor) -> float:
    """Spearman's ρ between the cosines of all N (N − 1) / 2 pairs of samples; NaN where all cosines are equal.

    Args:
        student: embeddings (N, D_s).
        teacher: embeddings (N, D_t) of the same samples.

    Source: representational similarity, Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008.
    """
    i, j = torch.triu_indices(len(student), len(student), offset=1)
    pairs = [cosines(embedding)[i, j] for embedding in (student, teacher)]
    if any(len(c) < 2 or float(c.max() - c.min()) == 0 for c in pairs):
        return float("nan")
    return float(spearmanr(*(c.numpy() for c in pairs)).statistic)


def neighbour_overlap(student: Tensor, teacher: Tensor, k: int = NEIGHBOURS) -> float:
    """The share of a sample's k nearest neighbours, by cosine, that both models agree on; the mean over samples.

    Args:
        student: embeddings (N, D_s).
        teacher: embeddings (N, D_t) of the same samples.
        k: at most N − 1 are taken.
    """
    k = min(k, len(student) - 1)
    if k < 1:
        return float("nan")
    near = []
    for embedding in (student, teacher):
        others = cosines(embedding).fill_diagonal_(-2)
        near.append(torch.zeros_like(others, dtype=torch.bool).scatter_(1, others.topk(k, dim=1).indices, True))
    return float((near[0] & near[1]).sum() / (k * len(student)))


class Pairs(Metric):
    """A random sample of the embeddings of two models, (M, D_s) and (M, D_t).

    Every sample of the data draws a priority from a generator with a fixed seed, and those with the lowest are kept:
    the choice depends on the order of the data alone. Of several processes each takes its part of every batch.

    Args:
        samples: M, how many are kept at most.
    """

    full_state_update = False
    priority: list[Tensor]
    student: list[Tensor]
    teacher: list[Tensor]

    def __init__(self, samples: int = SAMPLES) -> None:
        super().__init__()
        self._samples = samples
        for name in ("priority", "student", "teacher"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self._start()

    def _start(self) -> None:
        self._generator = torch.Generator().manual_seed(0)
        self._limit = 1.0  # the highest priority that can still be among the lowest

    def update(self, student: Tensor, teacher: Tensor) -> None:
        """Take one batch."""
        rank, world = distributed.rank_and_world_size()
        size = int(distributed.all_reduce_sum(torch.tensor(len(student))))
        priority = torch.rand(size, generator=self._generator)[rank::world]
        rows = (priority < self._limit).nonzero().flatten()
        if not len(rows):
            return
        for kept, values in ((self.priority, priority), (self.student, student), (self.teacher, teacher)):
            kept.append(values.detach()[rows.to(values.device)].float().to(student.device))
        if sum(map(len, self.priority)) > 2 * self._samples:
            self.priority, self.student, self.teacher = ([kept] for kept in self._lowest())
            self._limit = float(self.priority[0][-1])

    def _lowest(self) -> tuple[Tensor, Tensor, Tensor]:
        """Priorities and embeddings of the samples that are kept."""
        priority, student, teacher = map(dim_zero_cat, (self.priority, self.student, self.teacher))
        order = priority.argsort(stable=True)[: self._samples]
        return priority[order], student[order], teacher[order]

    def compute(self) -> tuple[Tensor, Tensor]:
        """The embeddings of both, over all processes."""
        return self._lowest()[1:]

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._start()


class SimilarityMetrics(nn.Module):
    """Spearman's ρ of cosines and the overlap of neighbours.

    Args:
        with_agreement: whether there is a teacher; else a model is compared with itself.
    """

    def __init__(self, with_agreement: bool) -> None:
        super().__init__()
        self._with_agreement = with_agreement
        self.pairs = Pairs()

    def update(self, student: Outputs, teacher: Outputs | None, target: Tensor) -> None:
        """Take one batch."""
        del target
        if teacher is not None or not self._with_agreement:
            self.pairs.update(student.logits, (teacher or student).logits)

    def compute(self) -> dict[str, Tensor]:
        """Both by name, and reset; none where no batch had a teacher."""
        if not self.pairs.update_called:
            return {}
        student, teacher = (embedding.cpu() for embedding in self.pairs.compute())
        self.pairs.reset()
        values = {
            "spearman": spearman_of_cosines(student, teacher),
            "knn_overlap": neighbour_overlap(student, teacher),
        }
        return {name: torch.tensor(value) for name, value in values.items()}
