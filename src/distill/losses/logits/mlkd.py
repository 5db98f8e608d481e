"""Multi-level logit distillation (MLKD): instance-, batch- and class-level alignment at several temperatures."""

from collections.abc import Sequence

import torch
from torch import Tensor

from distill.losses.checks import full_precision, positive, same_shape
from distill.losses.gather import BatchLoss
from distill.losses.logits.kd import kd_loss

TEMPERATURES = (2.0, 3.0, 4.0, 5.0, 6.0)


def _temperatures(Ts: Sequence[float]) -> tuple[float, ...]:
    """``Ts`` as a tuple of numbers above 0, at least one."""
    if not Ts:
        raise ValueError(f"Ts must hold at least one temperature, got {tuple(Ts)}")
    return tuple(positive("every one of Ts", T) for T in Ts)


def _grams(p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """‖ppᵀ − qqᵀ‖²_F and ‖pᵀp − qᵀq‖²_F from three N × N products: C × C is 2 GB at 22,000 classes.

    With d = p − q and s = p + q both differences are symmetric parts, of d·sᵀ and dᵀ·s, and the second norm is
    ½ [tr(ddᵀ·ssᵀ) + tr(sdᵀ·sdᵀ)]. As every product holds d, equal outputs give 0, and no large numbers cancel.
    """
    d, s = p - q, p + q
    mixed = s @ d.T
    batch = (0.5 * (mixed + mixed.T)).square().sum()
    classes = 0.5 * ((d @ d.T) * (s @ s.T) + mixed * mixed.T).sum()
    return batch, classes


@full_precision
def mlkd_loss(student_logits: Tensor, teacher_logits: Tensor, Ts: Sequence[float] = TEMPERATURES) -> Tensor:
    """Multi-level distillation: Σ_T [T² · KD_T + ‖p_t·p_tᵀ − p_s·p_sᵀ‖²_F / N + ‖p_tᵀ·p_t − p_sᵀ·p_s‖²_F / C].

    p = softmax(z / T), (N, C); KD_T is the batch mean of KL(p_t ‖ p_s). The second part compares the samples of the
    batch with one another, the third the classes.

    The authors' code runs both models on a weak and a strong view and multiplies some parts, already reduced to one
    number, by the mask of the less confident half of the samples or classes: that selects nothing, it halves them
    (and where all logits are of one view, some temperatures of the other were meant). Here there is one view, and
    every part counts in full.

    Args:
        student_logits: shape (N, C).
        teacher_logits: shape (N, C).
        Ts: the temperatures, each > 0 (the authors' code: 2 to 6); the losses are summed over them.

    Returns:
        A scalar ≥ 0; the first part in nats per sample × T².

    Raises:
        ValueError: Ts is empty or holds a number that is not above 0, or the shapes differ.

    Source: Jin, Wang and Lin 2023, "Multi-Level Logit Distillation", CVPR 2023.

    Example:
        >>> z = torch.tensor([[1.0, 2.0, 0.0], [3.0, 1.0, 0.0]])
        >>> mlkd_loss(z, z).item()
        0.0
    """
    same_shape(student_logits, teacher_logits, "student_logits", "teacher_logits", dims=2)
    n, c = student_logits.shape
    losses = []
    for T in _temperatures(Ts):
        batch, classes = _grams((student_logits / T).softmax(dim=1), (teacher_logits / T).softmax(dim=1))
        losses.append(kd_loss(student_logits, teacher_logits, T) + batch / n + classes / c)
    return torch.stack(losses).sum()


class MLKD(BatchLoss):
    """:func:`mlkd_loss` with its temperatures kept, and ``gather`` of :class:`~distill.losses.gather.BatchLoss`."""

    compares_rows = True

    def __init__(self, Ts: Sequence[float] = TEMPERATURES, gather: bool = False) -> None:
        super().__init__(gather)
        self.Ts = _temperatures(Ts)

    def forward(self, student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
        student_logits, teacher_logits = self.whole_batch(student_logits, teacher_logits)
        return mlkd_loss(student_logits, teacher_logits, self.Ts)
