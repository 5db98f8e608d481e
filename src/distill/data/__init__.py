"""Data: a source's images become batches whose every random choice is a pure function of (seed, epoch, index)."""

from distill.data.batch import Batch
from distill.data.datamodule import DataModule, Source
from distill.data.loader import ViewLoader
from distill.data.rng import uniform
from distill.data.sampler import ViewSampler
from distill.data.splits import Splits, as_splits
from distill.data.vision.augment import Augment, BatchAugment, FileAugment
from distill.data.vision.images import ImageSet, TensorImages, as_image_set
from distill.data.vision.pipeline import ImageOptions
from distill.data.vision.preprocess import Preprocess

__all__ = [
    "Augment",
    "Batch",
    "BatchAugment",
    "DataModule",
    "FileAugment",
    "ImageOptions",
    "ImageSet",
    "Preprocess",
    "Source",
    "Splits",
    "TensorImages",
    "ViewLoader",
    "ViewSampler",
    "as_image_set",
    "as_splits",
    "uniform",
]
