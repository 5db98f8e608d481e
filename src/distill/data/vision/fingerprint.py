"""What the images and their views are known by, from run to run."""

import hashlib
import inspect
import io
import pickle
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from distill.data.vision.load import LoadedSplit
from distill.data.vision.pixels import digest

_LIBRARIES = ("distill", "torch", "torchvision", "timm", "numpy", "PIL")


def fingerprint(splits: Mapping[str, LoadedSplit], settings: Sequence[object]) -> str:
    """Hex digest of each split's rows, labels and content, and of the settings that shape a view."""
    hasher = hashlib.sha256(repr(list(settings)).encode())
    for name, split in splits.items():
        if split.pixels is None:
            content = split.dataset.identity(split.rows)
        else:
            content = b"".join(digest(split.pixels[at]) for at in torch.split(split.at, 4096))
        for part in (name.encode(), digest(split.rows), digest(split.dataset.labels[split.rows]), content):
            hasher.update(hashlib.sha256(part).digest())
    return hasher.hexdigest()


class _Pickler(pickle.Pickler):
    """Pickles an object with all that it holds, the same in every process: of tensors and of code digests alone.

    Attributes:
        code: the functions and classes, each with the digest of the file where it is the user's.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, pickle.DEFAULT_PROTOCOL)
        self.code: list[str] = []

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return str, (f"{obj.dtype} {tuple(obj.shape)} {digest(obj.detach().cpu()).hex()}",)
        if not isinstance(obj, type | FunctionType) or obj.__module__ == "builtins":
            return NotImplemented
        file = None if obj.__module__.split(".")[0] in _LIBRARIES else inspect.getsourcefile(obj)
        digest_of_file = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
        self.code.append(f"{obj.__module__}.{obj.__qualname__} {digest_of_file}")
        return str, (self.code[-1],)


def described(transform: object) -> str:
    """A transform as a setting of :func:`fingerprint`: its repr, all that it holds, and the user's code that it runs.

    Without memory addresses, which differ between processes. Of one that cannot be pickled, repr and code are all.
    """
    text, content = re.sub(r" at 0x[0-9a-f]+", "", repr(transform)), io.BytesIO()
    if transform is None:
        return text
    pickler = _Pickler(content)
    with suppress(Exception):  # whatever an object of the user's raises
        pickler.dump(transform)
    return f"{text} {hashlib.sha256(content.getvalue() + repr(pickler.code).encode()).hexdigest()}"
