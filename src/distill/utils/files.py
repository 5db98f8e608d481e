"""A user's files: which a folder holds, each once, opened only if they are files, and their names on a terminal."""

import errno
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from distill.utils.errors import UserError, one_line

_OF_THE_SYSTEM = {
    *("__macosx", "thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "lost+found"),
    *("$recycle.bin", "system volume information"),
}
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True)
class ListedFile:
    """A file in a folder.

    Attributes:
        name: path relative to the folder.
        identity: the same for two names of one file; None: a link to nothing.
    """

    name: str
    identity: tuple[int, int] | None


def is_ignored(name: str) -> bool:
    """Whether a file or folder is hidden, or one that macOS, Windows or a file server leaves among the user's."""
    return name.startswith(".") or name.lower() in _OF_THE_SYSTEM


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, links to folders among them, sorted; without those that are ignored.

    Raises:
        UserError: it cannot be listed, or holds a link to nothing that has no image's suffix: perhaps to a folder.
    """
    names, images = [], image_suffixes()
    try:
        with os.scandir(folder) as listing:
            entries = list(listing)
        for entry in entries:
            if is_ignored(entry.name):
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - a million files
                if Path(entry.name).suffix.lower() not in images:
                    raise UserError(f"{printable(entry.path)} is a link to nothing: mend or remove it")
            elif entry.is_dir():
                names.append(entry.name)
    except OSError as error:
        raise _unlisted(error, folder) from error
    return sorted(names)


def list_files(folder: Path, suffixes: Collection[str], others: Counter[str] | None = None) -> Iterator[ListedFile]:
    """Every file below a folder, through links, with one of the suffixes in any case; a folder is entered once.

    Args:
        folder: where to look.
        suffixes: in lower case.
        others: counts the suffixes of the files that have none of them; neither hidden files nor the system's count.

    Raises:
        UserError: a folder cannot be listed.
    """

    def stop(error: OSError) -> None:
        raise _unlisted(error, folder) from error

    entered = {_identity(folder)}
    for parent, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        identities = {name: _identity(os.path.join(parent, name)) for name in sorted(folders) if not is_ignored(name)}  # noqa: PTH118 - a million files
        folders[:] = []
        for name, identity in identities.items():
            if identity not in entered:
                entered.add(identity)
                folders.append(name)
        inner = os.path.relpath(parent, folder)
        for name in sorted(files):  # so that which of two links is kept does not depend on the disk
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if is_ignored(name):
                continue
            if suffix not in suffixes:
                if others is not None:
                    others[suffix] += 1
            else:
                path = name if inner == "." else f"{inner}/{name}"
                yield ListedFile(path, _identity(f"{parent}/{name}"))


@cache
def image_formats() -> tuple[str, ...]:
    """The formats that Pillow decodes by itself: not EPS, a program that it would let Ghostscript run."""
    from PIL import Image

    Image.init()
    return tuple(name for name in Image.ID if name != "EPS")


def image_suffixes() -> set[str]:
    """Suffixes of these formats, in lower case."""
    from PIL import Image

    formats = {*image_formats(), "MPO"}  # several JPEGs in one file, which the format JPEG opens
    return {suffix for suffix, name in Image.registered_extensions().items() if name in formats}


def open_file(path: str | Path) -> BinaryIO:
    """Opens a file for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe, a socket, a device (reading could wait for ever) or a folder.
    """
    kind = stat.S_IFMT(Path(path).stat().st_mode)
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"{_SPECIAL.get(kind, 'something special')}, not a file", str(path))
    return open(path, "rb")  # noqa: PTH123 - the caller closes it


def printable(name: str | Path) -> str:
    r"""A path or name that every terminal and file can take: bytes that are no UTF-8 and control characters escaped.

    Example:
        >>> printable("caf\udce9\n.png")
        'caf\\xe9\\n.png'
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    control = ("Cc", "Zl", "Zp")
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in control else char for char in text
    )


def _identity(path: str | Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a million files
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _unlisted(error: OSError, folder: Path) -> UserError:
    return UserError(f"{printable(error.filename or folder)} cannot be listed: {one_line(error)}")
