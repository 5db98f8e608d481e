"""Paths that results are to be written to, judged before the work."""

from pathlib import Path

from distill.utils.errors import UserError


def below_folders(path: Path) -> None:
    """Refuses a path that cannot be made because a file stands where one of its folders must be.

    Raises:
        UserError: so it is.
    """
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked is not None:
        raise UserError(f"output: {blocked} is a file, and a folder is needed there")


def file_place(path: Path) -> None:
    """Refuses a path where no file can be written: below a file, or a folder itself.

    Raises:
        UserError: so it is.
    """
    below_folders(path)
    if path.is_dir():
        raise UserError(f"output: {path} is a folder, and a file is to be written there")


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error of a path that the system refuses."""
    return UserError(f"{path} cannot be written: {error.strerror or error}")
