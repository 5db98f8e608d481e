"""Generalised Jensen-Shannon divergence (JSD): between the two KL divergences, by a share β."""

from torch import Tensor, nn

from distill.losses.checks import full_precision, positive, share
from distill.losses.logits.divergence import kl, log_mixture, softened


@full_precision
def jsd_loss(student_logits: Tensor, teacher_logits: Tensor, beta: float = 0.5, T: float = 1.0) -> Tensor:
    """Generalised JSD: T² · mean_M [beta · KL(p ‖ m) + (1 − beta) · KL(q ‖ m)], m = beta · p + (1 − beta) · q.

    p = softmax(z_t / T) is the teacher's distribution, q = softmax(z_s / T) the student's. For beta → 0 the gradient
    takes the direction of KL(p ‖ q), for beta → 1 that of KL(q ‖ p): JSD / beta and JSD / (1 − beta) tend to these. JSD
    itself tends to 0 at both ends (of two near distributions it is about beta · (1 − beta) times their KL), so a small
    beta needs a large weight. At exactly 0 and 1, where it would be 0, the loss is KL(p ‖ q) and KL(q ‖ p) themselves.

    Args:
        student_logits: z_s, shape (M, C).
        teacher_logits: z_t, shape (M, C).
        beta: the teacher's share in the mixture m, in [0, 1]; 0.5: the usual JSD, symmetric.
        T: temperature, > 0 (paper: 1).

    Returns:
        A scalar ≥ 0 in nats per row × T²; for 0 < beta < 1 at most T² · ln 2.

    Raises:
        ValueError: beta is outside [0, 1], T is not above 0, or the shapes differ.

    Source: Agarwal et al. 2024, "On-Policy Distillation of Language Models: Learning from Self-Generated Mistakes"
    (GKD), arXiv:2306.13649, eq. 1.

    Example:
        >>> import torch
        >>> jsd_loss(torch.tensor([[0.0, 90.0]]), torch.tensor([[90.0, 0.0]])).item()  # nothing in common: ln 2
        0.6931471824645996
    """
    share("beta", beta)
    log_q, log_p = softened(student_logits, teacher_logits, T)
    if beta in (0, 1):
        return (kl(log_q, log_p) if beta else kl(log_p, log_q)) * T**2
    log_m = log_mixture(log_p, log_q, beta)
    return (beta * kl(log_p, log_m) + (1 - beta) * kl(log_q, log_m)) * T**2


class JSD(nn.Module):
    """:func:`jsd_loss` with its settings kept."""

    def __init__(self, beta: float = 0.5, T: float = 1.0) -> None:
        super().__init__()
        self.beta = share("beta", beta)
        self.T = positive("T", T)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        return jsd_loss(student_logits, teacher_logits, self.beta, self.T)
