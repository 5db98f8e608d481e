"""How Lightning writes, reads and deletes checkpoints here."""

from pathlib import Path
from typing import Any

from lightning.pytorch.plugins.io import TorchCheckpointIO

from distill.utils.atomic import atomic_path
from distill.utils.checkpoints import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint file, written under a temporary name and renamed: a kill never leaves half a file."""

    def __init__(self) -> None:
        super().__init__()
        self._folders: set[Path] = set()  # of the files that were saved

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write it whole, or leave what is there."""
        with atomic_path(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)
        self._folders.add(Path(path).resolve().parent)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint in the folder of those that were saved, and nothing else.

        ModelCheckpoint deletes the file that the checkpoint of a resumed run names as its best, and that checkpoint may
        be somebody else's; Lightning would delete whole folders, by any of fsspec's addresses.
        """
        file = Path(path)
        if file.suffix == ".ckpt" and file.is_file() and self._folders & set(file.resolve().parents):
            file.unlink()

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read it without unpickling code."""
        return read_checkpoint(Path(path))
