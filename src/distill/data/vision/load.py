"""Reading a split's images before training: decoded into one tensor, or looked over and left in their files."""

import logging
import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distill.data.loader import identity_collate
from distill.data.splits import Split
from distill.data.vision.images import ImageSet
from distill.data.vision.masked import fitted, planes
from distill.data.vision.pixels import BrokenImageError, is_finite, to_tensor
from distill.utils.errors import UserError
from distill.utils.processes import map_in_threads, usable_cores

log = logging.getLogger(__name__)

T = TypeVar("T")
OnBroken = Literal["error", "skip"]
CHECKED = 200_000  # a larger split that stays in its files is not looked over before training (minutes)
_MANY_PIXELS = 4_000_000  # more are decoded by several processes (threads would wait for each other: the GIL)
_CHUNK_BYTES = 1_000_000  # what a process hands over at a time


@dataclass(frozen=True)
class LoadedSplit(Split[ImageSet]):
    """One split: decoded, ``pixels[at]`` are its images, with a mask as their last plane; in files, it is None."""

    pixels: Tensor | None
    at: Tensor
    _copies: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def channels(self) -> int:
        """Channels of the decoded images, without the plane of a mask."""
        assert self.pixels is not None
        return self.pixels.shape[1] - (self.dataset.masks is not None)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """``pixels`` and ``at`` on a device, copied there once."""
        assert self.pixels is not None
        if device not in self._copies:
            self._copies[device] = self.pixels.to(device), self.at.to(device)
        return self._copies[device]


def _first_readable(read: Callable[[int], T], rows: Tensor, on_broken: OnBroken) -> T | None:
    """What ``read`` returns for the first row that can be read; None: for no row."""
    for row in rows.tolist():
        try:
            return read(row)
        except BrokenImageError as error:
            if on_broken == "error":
                raise UserError(str(error)) from error
    return None


def common_shape(train: Split[ImageSet], image_size: int | None, on_broken: OnBroken) -> tuple[int, int, int]:
    """(C, H, W) of the first training image that can be read, once it is fitted to ``image_size``."""
    images = train.dataset

    def shape(row: int) -> tuple[int, int, int]:
        height, width = images.check(row)
        channels = images.channels or to_tensor(images.image(row)).shape[0]
        return (channels, image_size, image_size) if image_size is not None else (channels, height, width)

    common = _first_readable(shape, train.rows, on_broken)
    if common is None:
        raise UserError(f"none of the {len(train.rows)} images of the train split can be read")
    return common


def load(
    split: Split[ImageSet], name: str, size: tuple[int, int], image_size: int | None, memory: bool, on_broken: OnBroken
) -> LoadedSplit:
    """Decode a split into memory, or check that its images are whole and (without image_size) of one size.

    Args:
        split: the rows to load.
        name: its name, for messages.
        size: common height and width.
        image_size: side to which images are fitted; None: they must have the size.
        memory: decode now.
        on_broken: what to do with an image that cannot be read.

    Raises:
        UserError: for a broken image (named) unless they are skipped, for images of two sizes, or for none left.
    """
    images, rows, pixels = split.dataset, split.rows, None
    if images.pixels is not None and images.pixels.is_floating_point():
        for row in rows.tolist():
            if not is_finite(images.pixels[row]):
                raise UserError(f"{name} {images.name(row)} has NaN or infinite values")
    if memory and images.pixels is not None and is_decoded(images, image_size):
        if image_size is None and tuple(images.pixels.shape[-2:]) != size:
            raise _mismatch(images, 0, size, tuple(images.pixels.shape[-2:]))
        return LoadedSplit(images, rows, images.pixels, rows)
    broken: dict[int, str] | None = {}
    if memory:
        pixels, broken = _decode(images, rows, size, image_size, on_broken)
    elif len(rows) > CHECKED:
        log.info("the %s split's %d images are not checked before training: too many", name, len(rows))
    else:
        broken = _check(images, rows, size, image_size, on_broken)
    if broken is None or len(broken) == len(rows):
        raise UserError(f"none of the {len(rows)} images of the {name} split can be read")
    for message in broken.values():
        log.warning("skipped: %s", message)
    if broken:
        log.warning("skipped %d broken of %d images in the %s split", len(broken), len(rows), name)
        whole = torch.ones(len(rows), dtype=torch.bool)
        whole[list(broken)] = False
        rows, pixels = rows[whole], None if pixels is None else pixels[whole]
    return LoadedSplit(images, rows, pixels, torch.arange(len(rows)))


def is_decoded(images: ImageSet, image_size: int | None) -> bool:
    """Whether the images are in memory already, as they are needed."""
    return images.pixels is not None and (image_size is None or images.pixels.shape[-2:] == (image_size, image_size))


def _mismatch(images: ImageSet, row: int, size: tuple[int, ...], other_size: tuple[int, ...]) -> UserError:
    """Both sizes are height × width, or channels × height × width."""
    one, other = ("×".join(map(str, values)) for values in (size, other_size))
    return UserError(f"images differ in size: {one} and {other} ({images.name(row)}); set data.image_size")


class _Decoder(Dataset[Any]):
    """Chunks of a split, decoded: pixels, and the message of each broken image by its position in the chunk."""

    def __init__(
        self, images: ImageSet, rows: Tensor, image_size: int | None, like: Tensor, on_broken: OnBroken
    ) -> None:
        self.images = images
        self.chunks = torch.split(rows, max(1, _CHUNK_BYTES // (like.numel() * like.element_size())))
        self.image_size = image_size
        self.like = like
        self.on_broken = on_broken

    def __len__(self) -> int:
        return len(self.chunks)

    def __getitem__(self, chunk: int) -> tuple[Tensor, dict[int, str]] | UserError:
        rows = self.chunks[chunk].tolist()
        pixels = torch.zeros(len(rows), *self.like.shape, dtype=self.like.dtype)
        broken = {}
        for position, row in enumerate(rows):
            try:
                item = self.images.item(row)
                tensor = planes(item if self.image_size is None else fitted(item, self.image_size))
                if not is_finite(tensor):
                    raise BrokenImageError(f"{self.images.name(row)} cannot be read: it has NaN or infinite values")
            except BrokenImageError as error:
                if self.on_broken == "error":
                    return UserError(str(error))
                broken[position] = str(error)
                continue
            except UserError as error:  # from a worker process it would come with a traceback
                return error
            if tensor.shape != self.like.shape:
                return _mismatch(self.images, row, tuple(self.like.shape), tuple(tensor.shape))
            if tensor.dtype != self.like.dtype:
                types = f"{self.like.dtype} and {tensor.dtype} ({self.images.name(row)})"
                return UserError(f"images differ in type: {types}; give all as uint8 (0..255) or as float (0..1)")
            pixels[position] = tensor
        return pixels, broken


def _decode(
    images: ImageSet, rows: Tensor, size: tuple[int, int], image_size: int | None, on_broken: OnBroken
) -> tuple[Tensor, dict[int, str] | None]:
    """The decoded split, and the message of each broken image by its position; None: all are broken."""
    first = _first_readable(lambda row: planes(images.item(row)), rows, on_broken)
    if first is None:
        return torch.empty(0), None
    like = torch.empty(first.shape[0], *size, dtype=first.dtype)
    pixels = torch.zeros(len(rows), *like.shape, dtype=like.dtype)
    decoder = _Decoder(images, rows, image_size, like, on_broken)
    parallel = len(rows) * first.shape[1] * first.shape[2] >= _MANY_PIXELS
    workers = usable_cores() if parallel and not multiprocessing.current_process().daemon else 0
    loader = DataLoader(decoder, None, num_workers=workers, collate_fn=identity_collate, generator=torch.Generator())
    begin = 0
    broken: dict[int, str] = {}
    failure: UserError | None = None
    for result in loader:
        if isinstance(result, UserError):
            failure = result
            break  # raised below, when the workers have ended
        chunk, messages = result
        pixels[begin : begin + len(chunk)] = chunk
        broken |= {begin + position: message for position, message in messages.items()}
        begin += len(chunk)
    if failure is not None:
        raise failure
    return pixels, broken


def _check(
    images: ImageSet, rows: Tensor, size: tuple[int, int], image_size: int | None, on_broken: OnBroken
) -> dict[int, str]:
    """The message of each broken image by its position."""

    def check(row: int) -> str | None:
        try:
            actual = images.check(row)
        except BrokenImageError as error:
            if on_broken == "error":
                raise UserError(str(error)) from error
            return str(error)
        if image_size is None and actual != size:
            raise _mismatch(images, row, size, actual)
        return None

    messages = map_in_threads(check, rows.tolist())
    return {position: message for position, message in enumerate(messages) if message is not None}


def statistics(loaded: LoadedSplit) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over a split in memory; uint8 counts as x/255."""
    assert loaded.pixels is not None
    unit = 255 if loaded.pixels.dtype == torch.uint8 else 1
    channels = loaded.channels
    total = square = torch.zeros(channels, dtype=torch.float64)
    for at in torch.split(loaded.at, 1024):
        values = loaded.pixels[at, :channels].to(torch.float32).flatten(2)
        total = total + values.mean(2).sum(0, dtype=torch.float64)
        square = square + values.square().mean(2).sum(0, dtype=torch.float64)
    mean = total / len(loaded.at)
    std = (square / len(loaded.at) - mean**2).clamp(min=0).sqrt() / unit
    return tuple((mean / unit).tolist()), tuple(value if value > 1e-6 else 1.0 for value in std.tolist())
