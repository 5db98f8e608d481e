"""The losses: pure functions of tensors, and thin modules where they keep parameters or settings."""

from distill.losses.features import FitNet, hint_loss
from distill.losses.logits import KD, kd_loss
from distill.losses.relations import RKD, rkd_angle, rkd_distance

__all__ = ["KD", "RKD", "FitNet", "hint_loss", "kd_loss", "rkd_angle", "rkd_distance"]
