"""A small teacher with its cache, and the views of a training split that it is shown."""

import torch
from torch import nn

from distill.data import Batch
from distill.distillation.teacher import Teacher
from distill.distillation.teacher_cache import CachedTeacher, Half, Store, digest
from distill.utils.inputs import num_samples

INDEX = torch.tensor([40, 7, 12, 99, 3, 58])  # of the training split, in the source
SAMPLES = {"train": INDEX, "val": torch.tensor([1, 2]), "test": torch.tensor([0, 1, 2])}
C = 10


class Counted(nn.Module):
    """A layer that knows how many samples it saw; of texts it reads the ids."""

    def __init__(self, make=lambda: nn.Linear(4, C)):
        super().__init__()
        torch.manual_seed(0)
        self.fc = make()
        self.seen = 0

    def forward(self, x):
        self.seen += num_samples(x)
        return self.fc(x["input_ids"] if isinstance(x, dict) else x)


def view(epoch, index):
    """What the loader shows of a sample in an epoch."""
    return torch.stack([torch.full((4,), float(epoch)) + int(i) / 10 for i in index])


def batches(epoch, size=2, order=None):
    index = INDEX if order is None else INDEX[order]
    return [Batch(view(epoch, i), i % C, i) for i in index.split(size)]


def cached(tmp_path, model=None, **options):
    model = model or Counted()
    codec = options.pop("codec", Half(C))
    teacher = Teacher(model, (), "fc" if options.get("embedding") else None)
    store = Store(tmp_path, {"teacher": options.pop("key", digest(model))})
    return CachedTeacher(teacher, store, codec, SAMPLES, **options)


def epoch(teacher, number, **order):
    teacher.start_epoch(number, 3)
    return [teacher(batch) for batch in batches(number, **order)]
