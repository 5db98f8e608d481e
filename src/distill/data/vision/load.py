"""Reading a split's images before training: decoded into one tensor, or looked over and left in their files."""

import hashlib
import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distill.data.loader import identity_collate
from distill.data.splits import Split
from distill.data.vision.augment import fit
from distill.data.vision.images import BrokenImageError, ImageSet, digest, to_tensor
from distill.utils.cpu import usable_cores
from distill.utils.errors import UserError

log = logging.getLogger(__name__)

OnBroken = Literal["error", "skip"]
CHECKED = 200_000  # a larger split that stays in its files is not looked over before training (minutes)
_MANY_PIXELS = 4_000_000  # more are decoded by several processes (threads would wait for each other: the GIL)
_CHUNK_BYTES = 1_000_000  # what a process hands over at a time


@dataclass(frozen=True)
class LoadedSplit:
    """One split: decoded, ``pixels[at]`` are its images; in files, ``pixels`` is None."""

    split: Split
    pixels: Tensor | None
    at: Tensor
    _copies: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """``pixels`` and ``at`` on a device, copied there once."""
        assert self.pixels is not None
        if device not in self._copies:
            self._copies[device] = self.pixels.to(device), self.at.to(device)
        return self._copies[device]


def shape(images: ImageSet, row: int, image_size: int | None) -> tuple[int, int, int]:
    """(C, H, W) of one image once it is fitted to ``image_size``."""
    try:
        height, width = images.check(row)
        channels = images.channels or to_tensor(images.image(row)).shape[0]
    except BrokenImageError as error:
        raise UserError(str(error)) from error
    return (channels, image_size, image_size) if image_size is not None else (channels, height, width)


def load(
    split: Split, name: str, size: tuple[int, int], image_size: int | None, memory: bool, broken: OnBroken
) -> LoadedSplit:
    """Decode a split into memory, or check that its images are whole and (without image_size) of one size.

    Args:
        split: the rows to load.
        name: its name, for messages.
        size: height and width that every image must have where ``image_size`` is None.
        image_size: side to which images are fitted.
        memory: decode now.
        broken: what to do with an image that cannot be read.

    Raises:
        UserError: for a broken image (named) unless they are skipped, for images of two sizes, or for none left.
    """
    images, rows = split.images, split.rows
    if memory and images.pixels is not None and is_decoded(images, image_size):
        if image_size is None and tuple(images.pixels.shape[-2:]) != size:
            raise _mismatch(images, 0, size, tuple(images.pixels.shape[-2:]))
        return LoadedSplit(split, images.pixels, rows)
    if memory:
        pixels: Tensor | None
        pixels, whole = _decode(images, rows, size, image_size, broken)
    elif len(rows) > CHECKED:
        log.info("the %s split's %d images are not checked before training: too many", name, len(rows))
        pixels, whole = None, torch.ones(len(rows), dtype=torch.bool)
    else:
        pixels, whole = None, _check(images, rows, size, image_size, broken)
    if not whole.all():
        count = int((~whole).sum())
        log.warning("skipped %d broken of %d images in the %s split", count, len(rows), name)
        if count == len(rows):
            raise UserError(f"none of the {len(rows)} images of the {name} split can be read")
        split, pixels = Split(images, rows[whole]), None if pixels is None else pixels[whole]
    return LoadedSplit(split, pixels, torch.arange(len(split.rows)))


def is_decoded(images: ImageSet, image_size: int | None) -> bool:
    """Whether the images are in memory already, as they are needed."""
    return images.pixels is not None and (image_size is None or images.pixels.shape[-2:] == (image_size, image_size))


def _mismatch(images: ImageSet, row: int, size: tuple[int, ...], other_size: tuple[int, ...]) -> UserError:
    """Both sizes are height × width, or channels × height × width."""
    one, other = ("×".join(map(str, values)) for values in (size, other_size))
    return UserError(f"images differ in size: {one} and {other} ({images.name(row)}); set data.image_size")


class _Decoder(Dataset[Any]):
    """Chunks of a split, decoded: pixels, and position and error message of each broken image."""

    def __init__(self, images: ImageSet, rows: Tensor, image_size: int | None, like: Tensor) -> None:
        self.images = images
        self.chunks = torch.split(rows, max(1, _CHUNK_BYTES // (like.numel() * like.element_size())))
        self.image_size = image_size
        self.like = like

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, chunk: int) -> tuple[Tensor, list[tuple[int, str]]] | UserError:
        rows = self.chunks[chunk].tolist()
        pixels = torch.zeros(len(rows), *self.like.shape, dtype=self.like.dtype)
        broken = []
        for position, row in enumerate(rows):
            try:
                image = self.images.image(row)
            except BrokenImageError as error:
                broken.append((position, str(error)))
                continue
            tensor = to_tensor(image if self.image_size is None else fit(image, self.image_size))
            if tensor.shape != self.like.shape:
                return _mismatch(self.images, row, tuple(self.like.shape), tuple(tensor.shape))
            pixels[position] = tensor
        return pixels, broken


def _decode(
    images: ImageSet, rows: Tensor, size: tuple[int, int], image_size: int | None, broken: OnBroken
) -> tuple[Tensor, Tensor]:
    """The decoded split and bool (N,): which of its images are whole."""
    first: Tensor | None = None
    for row in rows.tolist():  # the first that can be read tells the type
        try:
            first = to_tensor(images.image(row))
            break
        except BrokenImageError as error:
            if broken == "error":
                raise UserError(str(error)) from error
    whole = torch.ones(len(rows), dtype=torch.bool)
    if first is None:
        return torch.empty(len(rows), 0), ~whole
    height, width = (image_size, image_size) if image_size is not None else size
    like = torch.empty(first.shape[0], height, width, dtype=first.dtype)
    pixels = torch.zeros(len(rows), *like.shape, dtype=like.dtype)
    decoder = _Decoder(images, rows, image_size, like)
    parallel = len(rows) * first.shape[1] * first.shape[2] >= _MANY_PIXELS
    workers = usable_cores() if parallel and not multiprocessing.current_process().daemon else 0
    begin = 0
    problem: UserError | None = None
    for result in DataLoader(
        decoder, None, num_workers=workers, collate_fn=identity_collate, generator=torch.Generator()
    ):
        if isinstance(result, UserError):
            problem = result
        elif result[1] and broken == "error":
            problem = UserError(result[1][0][1])
        if problem is not None:
            break  # raised below, when the workers have ended
        pixels[begin : begin + len(result[0])] = result[0]
        for position, message in result[1]:
            log.warning("skipped: %s", message)
            whole[begin + position] = False
        begin += len(result[0])
    if problem is not None:
        raise problem
    return pixels, whole


def _check(images: ImageSet, rows: Tensor, size: tuple[int, int], image_size: int | None, broken: OnBroken) -> Tensor:
    """Which images are whole: bool (N,)."""
    whole = torch.ones(len(rows), dtype=torch.bool)

    def check(row: int) -> str | None:
        try:
            actual = images.check(row)
        except BrokenImageError as error:
            return str(error)
        if image_size is None and actual != size:
            raise _mismatch(images, row, size, actual)
        return None

    with ThreadPoolExecutor() as pool:
        for position, message in enumerate(pool.map(check, rows.tolist())):
            if message is None:
                continue
            if broken == "error":
                raise UserError(message)
            log.warning("skipped: %s", message)
            whole[position] = False
    return whole


def statistics(loaded: LoadedSplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over a split in memory; uint8 counts as x/255."""
    assert loaded.pixels is not None
    unit = 255 if loaded.pixels.dtype == torch.uint8 else 1
    total = square = torch.zeros(loaded.pixels.shape[1], dtype=torch.float64)
    for at in torch.split(loaded.at, 1024):
        values = loaded.pixels[at].to(torch.float32).flatten(2)
        total = total + values.mean(2).sum(0, dtype=torch.float64)
        square = square + values.square().mean(2).sum(0, dtype=torch.float64)
    mean = total / len(loaded.at)
    std = (square / len(loaded.at) - mean**2).clamp(min=0).sqrt() / unit
    return tuple((mean / unit).tolist()), tuple(value if value > 1e-6 else 1.0 for value in std.tolist())


def fingerprint(splits: dict[str, LoadedSplit], settings: Sequence[object]) -> str:
    """Hex digest of each split's rows, labels and content, and of the settings that shape a view."""
    hasher = hashlib.sha256(repr(list(settings)).encode())
    for name, loaded in splits.items():
        split = loaded.split
        content = split.images.identity(split.rows) if loaded.pixels is None else _content(loaded)
        for piece in (name.encode(), digest(split.rows), digest(split.labels), content):
            hasher.update(hashlib.sha256(piece).digest())
    return hasher.hexdigest()


def _content(loaded: LoadedSplit) -> bytes:
    assert loaded.pixels is not None
    return b"".join(digest(loaded.pixels[at]) for at in torch.split(loaded.at, 4096))
