"""Mixup and CutMix: two training images become one, and so do their labels."""

from dataclasses import dataclass, field

import torch
from scipy.special import betaincinv
from torch import Tensor

_QUANTILES = 4096


def _quantiles(alpha: float) -> Tensor:
    """Beta(alpha, alpha) as a table: one of its entries, each as likely as the other, is a draw."""
    middle = (torch.arange(_QUANTILES, dtype=torch.float64) + 0.5) / _QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, middle.numpy())).float()


@dataclass(eq=False)
class Mixing:
    """Mix the view of a sample with that of another one.

    The partner is drawn from the whole training split, λ from Beta(α, α), the box from the image, all from the sample's
    own random numbers: what a sample looks like in an epoch depends on (seed, epoch, index), not on the batch around
    it (the usual implementations mix within a batch).

        mixup:   x = λ x₁ + (1 − λ) x₂,                                       y = λ y₁ + (1 − λ) y₂
        CutMix:  x = x₁ with a box of share 1 − λ of the area taken from x₂,  y likewise, λ counted in pixels

    Where both are given, half of the samples get either.

    Args:
        mixup: α of mixup; 0: none.
        cutmix: α of CutMix; 0: none.
        num_classes: C.

    Source: Zhang et al., "mixup", ICLR 2018 (arXiv:1710.09412); Yun et al., "CutMix", ICCV 2019 (arXiv:1905.04899).
    """

    mixup: float
    cutmix: float
    num_classes: int
    columns: int = field(default=5, init=False)  # partner, which of the two, λ, the box's row and column

    def __post_init__(self) -> None:
        self._tables = {name: _quantiles(alpha) for name in ("mixup", "cutmix") if (alpha := getattr(self, name))}

    def partners(self, u: Tensor, size: int) -> Tensor:
        """Each sample's partner as a position among ``size``, int64 (B,), from its numbers (B, 5) in [0, 1)."""
        return (u[:, 0].double() * size).long()

    def __call__(self, images: Tensor, others: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Mix.

        Args:
            images: (B, C, H, W), float.
            others: the partners' views, likewise.
            u: (B, 5) uniform in [0, 1).

        Returns:
            The mixed images, and λ: the share of each that is not its partner's, float32 (B,).
        """
        height, width = images.shape[-2:]
        use_mixup = u[:, 1] < 0.5 if self.mixup and self.cutmix else torch.full_like(u[:, 1], bool(self.mixup)).bool()
        entry = (u[:, 2] * _QUANTILES).long()
        lam = torch.ones_like(u[:, 2])
        mixed = images
        if self.mixup:
            lam = torch.where(use_mixup, self._table("mixup", u)[entry], lam)
            mixed = others + (images - others) * lam[:, None, None, None]
        if self.cutmix:
            side = (1 - self._table("cutmix", u)[entry]).sqrt()
            rows, columns = _span(u[:, 3], side, height), _span(u[:, 4], side, width)
            box = rows[:, :, None] & columns[:, None, :] & ~use_mixup[:, None, None]
            mixed = torch.where(box[:, None], others, mixed)
            lam = lam - box.float().mean(dim=(1, 2))
        return mixed, lam

    def target(self, labels: Tensor, other_labels: Tensor, lam: Tensor) -> Tensor:
        """Two class numbers each, int64 (B,), as one distribution (B, C)."""
        target = torch.zeros(len(labels), self.num_classes, device=labels.device)
        target.scatter_add_(1, labels[:, None], lam[:, None])
        return target.scatter_add_(1, other_labels[:, None], 1 - lam[:, None])

    def _table(self, name: str, like: Tensor) -> Tensor:
        table = self._tables[name] = self._tables[name].to(like.device)
        return table


def _span(u: Tensor, side: Tensor, size: int) -> Tensor:
    """The pixels of a line of ``size`` that lie in a box of share ``side`` around a random centre: bool (B, size)."""
    centre, half = (u * size).floor(), (side * size / 2)
    pixel = torch.arange(size, device=u.device)
    return (pixel >= (centre - half).round()[:, None]) & (pixel < (centre + half).round()[:, None])
