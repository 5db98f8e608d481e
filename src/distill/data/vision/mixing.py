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
    """The view of a sample mixed with that of another one.

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
            The mixed images, and the share of each that is its own, float32 (B,).
        """
        height, width = images.shape[-2:]
        choice = u[:, 1] < 0.5 if self.mixup and self.cutmix else torch.full_like(u[:, 1], bool(self.mixup)).bool()
        place = (u[:, 2] * _QUANTILES).long()
        share = torch.ones_like(u[:, 2])
        mixed = images
        if self.mixup:
            own = torch.where(choice, self._table("mixup", u)[place], share)
            mixed = others + (images - others) * own[:, None, None, None]
            share = own
        if self.cutmix:
            side = (1 - self._table("cutmix", u)[place]).sqrt()
            rows, columns = (_span(u[:, at], side, size) for at, size in ((3, height), (4, width)))
            box = rows[:, :, None] & columns[:, None, :] & ~choice[:, None, None]
            mixed = torch.where(box[:, None], others, mixed)
            share = share - box.float().mean(dim=(1, 2))
        return mixed, share

    def target(self, own: Tensor, others: Tensor, share: Tensor) -> Tensor:
        """Two class numbers each, int64 (B,), as one distribution (B, C)."""
        target = torch.zeros(len(own), self.num_classes, device=own.device)
        target.scatter_add_(1, own[:, None], share[:, None])
        return target.scatter_add_(1, others[:, None], 1 - share[:, None])

    def _table(self, name: str, like: Tensor) -> Tensor:
        table = self._tables[name] = self._tables[name].to(like.device)
        return table


def _span(u: Tensor, side: Tensor, size: int) -> Tensor:
    """The places of a side of ``size`` that lie in a box of share ``side`` around a random centre: bool (B, size)."""
    centre, half = (u * size).floor(), (side * size / 2)
    place = torch.arange(size, device=u.device)
    return (place >= (centre - half).round()[:, None]) & (place < (centre + half).round()[:, None])
