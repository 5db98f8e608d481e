"""Contrastive representation distillation (CRD): NCE with memory banks, and InfoNCE within the batch."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.losses.checks import full_precision, one_each, positive, same_samples, same_shape, whole
from distill.losses.gather import BatchLoss, gather

EPS = 1e-12


def _heads(student: Sequence[int], teacher: Sequence[int], dim: int) -> tuple[nn.Linear, nn.Linear]:
    """The projections of both embeddings (N, D) to ``dim``."""
    _check_embeddings(student, teacher)
    return nn.Linear(student[1], dim), nn.Linear(teacher[1], dim)


def _check_embeddings(student: Sequence[int], teacher: Sequence[int]) -> None:
    for name, shape in (("student_embedding", student), ("teacher_embedding", teacher)):
        if len(shape) != 2:
            raise ValueError(f"{name} must have shape (N, D), got {tuple(shape)}")


def _log_mean(scores: Tensor, allowed: Tensor) -> Tensor:
    """The mean of exp(scores) over the allowed ones, as its logarithm."""
    return scores.masked_fill(~allowed, -math.inf).logsumexp((0, 1)) - allowed.sum().log()


@full_precision
def nce_loss(scores: Tensor, allowed: Tensor, log_z: Tensor, noise: float) -> Tensor:
    """Noise-contrastive estimation: mean_n −ln(p_0 / (p_0 + c)) − Σ_{k ≥ 1} ln(c / (p_k + c)), p = e^score / Z.

    p_0 is that of the positive, p_k those of the negatives. c = K / M is K times the probability 1 / M that the noise
    gives each of M samples. Computed from logarithms, without the 1e-7 that the reference adds to each denominator.

    Args:
        scores: (N, 1 + K): the positive first, then the negatives.
        allowed: bool, broadcasts to ``scores``; a negative that is not allowed counts as absent.
        log_z: ln Z, no dimensions.
        noise: c, > 0.

    Returns:
        A scalar in nats per sample.

    Source: Tian, Krishnan, Isola 2020, "Contrastive Representation Distillation", arXiv:1910.10699, section 3.1; Wu et
    al. 2018, arXiv:1805.01978, for the constant Z.

    Example:
        >>> scores, allowed = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
        >>> nce_loss(scores, allowed, torch.tensor(0.0), 1.0).isclose(3 * torch.tensor(2.0).log()).item()
        True
    """
    positive("noise", noise)
    ratio = scores - log_z - math.log(noise)
    return (F.softplus(-ratio[:, 0]) + (F.softplus(ratio[:, 1:]) * allowed[:, 1:]).sum(dim=1)).mean()


class CRD(nn.Module):
    """Contrastive representation distillation with a memory bank of all training samples for each side.

    L = :func:`nce_loss` of the student's embedding s against the teacher's bank + that of the teacher's t against the
    student's bank; scores x·y / τ of embeddings that a linear layer brings to ``dim`` and L2 normalisation to
    the sphere. Z is estimated from the first batch, Z = M · mean e^score, and then kept.

    As the reference does (its "exact" mode): uniform initial banks, positives from the bank as it was before the step,
    bank ← normalised (momentum · bank + (1 − momentum) · new), without negatives of the anchor's class. Choices
    here:

    - One set of K negatives is drawn in each step, without repetition, and shared by the whole batch: a product of
      N × dim and dim × K instead of a copy of N × K rows. Those of the anchor's class are masked.
    - Labels of the bank are learnt as samples pass: until the first visit of a sample it is random noise that is never
      masked, and its first embedding goes into the bank as it is. The positive of a sample on its first
      visit is the other side's embedding of it, without gradient.
    - In eval mode (the indices are another split's) every positive is the sample's embedding, and nothing is
      written; the negatives still come from the bank.

    Banks, labels and Z are buffers: a resumed run continues as if it had not stopped. Two banks take
    8 · ``num_samples`` · ``dim`` bytes (51 MB for 50,000 samples, 1.3 GB for ImageNet).

    Under DDP every process draws other negatives and, in training, what is written to the banks is gathered: all
    processes keep the same banks. DDP's broadcast of buffers before each step then only costs time; turn it
    off (``broadcast_buffers=False``) where the banks are large.

    Args:
        dim: of the common space (paper: 128).
        K: negatives per step, capped at the number of samples (paper: 16384).
        tau: τ > 0 (paper: 0.07 in the reference recipe).
        momentum: of the banks, in [0, 1) (0.5).
    """

    fixed = ("dim", "K")  # no schedule can change them

    student_bank: Tensor
    teacher_bank: Tensor
    labels: Tensor
    log_z: Tensor

    def __init__(self, dim: int = 128, K: int = 16384, tau: float = 0.07, momentum: float = 0.5) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.dim = whole("dim", dim)
        self.K = whole("K", K)
        self.tau = positive("tau", tau)
        self.momentum = float(momentum)

    def build(
        self, student_embedding: Sequence[int], teacher_embedding: Sequence[int], num_samples: int | None = None
    ) -> None:
        if num_samples is None:
            raise ValueError("a memory bank needs a dataset with stable indices")
        self.student_head, self.teacher_head = _heads(student_embedding, teacher_embedding, self.dim)
        bound = math.sqrt(3 / self.dim)
        for bank in ("student_bank", "teacher_bank"):
            self.register_buffer(bank, torch.empty(num_samples, self.dim).uniform_(-bound, bound))
        self.register_buffer("labels", torch.full((num_samples,), -1))
        self.register_buffer("log_z", torch.full((2,), math.inf))

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor, target: Tensor, index: Tensor) -> Tensor:
        """The loss in nats per sample; in training mode also writes the banks.

        Args:
            student_embedding: (N, D_s).
            teacher_embedding: (N, D_t).
            target: (N,) int64.
            index: (N,) int64, below the ``num_samples`` of :meth:`build` in training mode, each at most once.

        Raises:
            ValueError: the shapes are not as above.
            IndexError: an index out of range (on the CPU; CUDA reports a failed assertion).
        """
        _check_embeddings(student_embedding.shape, teacher_embedding.shape)
        same_samples(student_embedding, teacher_embedding)
        one_each("target", target, len(student_embedding))
        one_each("index", index, len(student_embedding))
        return self._contrast(self.student_head(student_embedding), self.teacher_head(teacher_embedding), target, index)

    @full_precision
    def _contrast(self, student: Tensor, teacher: Tensor, target: Tensor, index: Tensor) -> Tensor:
        student, teacher = F.normalize(student, dim=1, eps=EPS), F.normalize(teacher, dim=1, eps=EPS)
        size = len(self.labels)
        drawn = torch.randperm(size, device=target.device)[: self.K]
        allowed = self.labels.index_select(0, drawn) != target[:, None]
        positive_s, positive_t = student.detach(), teacher.detach()
        if self.training:
            allowed = allowed & (drawn != index[:, None])
            is_set = self.labels.index_select(0, index)[:, None] >= 0
            positive_s = torch.where(is_set, self.student_bank.index_select(0, index).to(student.dtype), positive_s)
            positive_t = torch.where(is_set, self.teacher_bank.index_select(0, index).to(teacher.dtype), positive_t)
        allowed = F.pad(allowed, (1, 0), value=True)
        scores_s = self._scores(student, positive_t, self.teacher_bank.index_select(0, drawn))
        scores_t = self._scores(teacher, positive_s, self.student_bank.index_select(0, drawn))
        log_z = self._normaliser(scores_s.detach(), scores_t.detach(), allowed)
        noise = len(drawn) / size
        loss = nce_loss(scores_s, allowed, log_z[0], noise) + nce_loss(scores_t, allowed, log_z[1], noise)
        if self.training:
            self._write(student.detach(), teacher.detach(), target, index)
        return loss

    def _scores(self, anchor: Tensor, positive: Tensor, negatives: Tensor) -> Tensor:
        """(N, 1 + K): x·y / τ with the positive, then with the negatives."""
        first = (anchor * positive).sum(dim=1, keepdim=True)
        return torch.cat([first, anchor @ negatives.to(anchor.dtype).T], dim=1) / self.tau

    def _normaliser(self, scores_s: Tensor, scores_t: Tensor, allowed: Tensor) -> Tensor:
        """Both sides' ln Z: as kept, or estimated from this batch (and in training mode kept from now on)."""
        means = torch.stack([_log_mean(scores_s, allowed), _log_mean(scores_t, allowed)])
        estimate = means + math.log(len(self.labels))
        if self.training:
            estimates = gather(estimate[None])
            estimate = estimates.logsumexp(dim=0) - math.log(len(estimates))
        log_z = torch.where(self.log_z.isinf(), estimate, self.log_z.to(estimate.dtype))
        if self.training:
            self.log_z.copy_(log_z)
        return log_z

    def _write(self, student: Tensor, teacher: Tensor, target: Tensor, index: Tensor) -> None:
        """Mixes this step's embeddings, of all processes, into the banks."""
        both = gather(torch.cat([student, teacher], dim=1))
        target, index = gather(torch.stack([target, index], dim=1)).unbind(dim=1)
        is_set = self.labels.index_select(0, index)[:, None] >= 0
        for bank, new in ((self.student_bank, both[:, : self.dim]), (self.teacher_bank, both[:, self.dim :])):
            old = bank.index_select(0, index).to(new.dtype)
            mixed = torch.where(is_set, self.momentum * old + (1 - self.momentum) * new, new)
            bank.index_copy_(0, index, F.normalize(mixed, dim=1, eps=EPS).to(bank.dtype))
        self.labels.index_copy_(0, index, target)


@full_precision
def crd_inbatch_loss(student_embedding: Tensor, teacher_embedding: Tensor, target: Tensor, tau: float = 0.07) -> Tensor:
    """InfoNCE within the batch: ½ mean_n [−ln softmax_m(s_n·t_m / τ)_n − ln softmax_m(t_n·s_m / τ)_n].

    Embeddings are L2-normalised here. The other samples of the anchor's class are left out, as CRD does: they are no
    negatives. A batch of one sample, or of one class, has no negatives and gives 0.

    Args:
        student_embedding: s, (N, d), projected to the common space.
        teacher_embedding: t, (N, d).
        target: (N,) int64.
        tau: τ > 0.

    Returns:
        A scalar in nats per sample, ≥ 0.

    Raises:
        ValueError: τ is not above 0, or the shapes are not as above.

    Source: Tian, Krishnan, Isola 2020, arXiv:1910.10699, with the InfoNCE of van den Oord et al. 2018,
    arXiv:1807.03748.

    Example:
        >>> e = torch.eye(3)
        >>> crd_inbatch_loss(e, e, torch.arange(3), tau=0.01).item()
        0.0
    """
    positive("tau", tau)
    same_shape(student_embedding, teacher_embedding, "student_embedding", "teacher_embedding", dims=2)
    one_each("target", target, len(student_embedding))
    student, teacher = F.normalize(student_embedding, dim=1), F.normalize(teacher_embedding, dim=1)
    is_self = torch.eye(len(target), dtype=torch.bool, device=target.device)
    scores = (student @ teacher.T / tau).masked_fill((target[:, None] == target) & ~is_self, -math.inf)
    diagonal = scores.diagonal()
    return ((scores.logsumexp(dim=1) + scores.logsumexp(dim=0)) / 2 - diagonal).mean()


class CRDInBatch(BatchLoss):
    """:func:`crd_inbatch_loss` of embeddings that a linear layer on each side brings to ``dim``: CRD without a bank.

    Needs no indices and keeps no state but the two heads; the negatives are as many as the batch has.

    Args:
        dim: of the common space.
        tau: τ > 0.
        gather: see :class:`~distill.losses.gather.BatchLoss`.
    """

    fixed = ("dim",)  # no schedule can change it

    def __init__(self, dim: int = 128, tau: float = 0.07, gather: bool = False) -> None:
        super().__init__(gather)
        self.dim = whole("dim", dim)
        self.tau = positive("tau", tau)

    def build(self, student_embedding: Sequence[int], teacher_embedding: Sequence[int]) -> None:
        self.student_head, self.teacher_head = _heads(student_embedding, teacher_embedding, self.dim)

    def forward(self, student_embedding: Tensor, teacher_embedding: Tensor, target: Tensor) -> Tensor:
        student, teacher = self.student_head(student_embedding), self.teacher_head(teacher_embedding)
        student, teacher, target = self.whole_batch(student, teacher, target)
        return crd_inbatch_loss(student, teacher, target, self.tau)
