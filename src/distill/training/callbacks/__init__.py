"""Callbacks that guard a training and report its progress."""

from distill.training.callbacks.data_wait import DataWait
from distill.training.callbacks.finite_loss import FiniteLoss
from distill.training.callbacks.graceful_stop import GracefulStop
from distill.training.callbacks.partial_epoch import PartialEpoch
from distill.training.callbacks.progress import EpochLine, LabelledBar

__all__ = ["DataWait", "EpochLine", "FiniteLoss", "GracefulStop", "LabelledBar", "PartialEpoch"]
