"""Data: a source's samples become batches whose every random choice is a pure function of (seed, epoch, index)."""

from distill.data.datamodule import DataModule as DataModule, Source as Source
from distill.data.loader import Batch as Batch, ViewLoader as ViewLoader
from distill.data.options import DataOptions as DataOptions
from distill.data.rng import uniform as uniform
from distill.data.sampler import ViewSampler as ViewSampler
from distill.data.splits import Splits as Splits, as_splits as as_splits
from distill.data.targets import Targets as Targets
from distill.data.text.datamodule import TextDataModule as TextDataModule, TextOptions as TextOptions
from distill.data.text.dataset import TextSet as TextSet
from distill.data.text.preprocess import TextPreprocess as TextPreprocess
from distill.data.vision.augment import Augment as Augment, FileAugment as FileAugment
from distill.data.vision.datamodule import ImageDataModule as ImageDataModule, ImageOptions as ImageOptions
from distill.data.vision.images import ImageSet as ImageSet, TensorImages as TensorImages
from distill.data.vision.map_style import as_image_set as as_image_set
from distill.data.vision.preprocess import Preprocess as Preprocess
