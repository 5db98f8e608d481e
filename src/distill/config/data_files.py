"""The files of the data, and what is needed to read them, looked for before anything heavy is imported."""

from pathlib import Path

from distill.config.schema import TrainConfig
from distill.utils.errors import UserError


def check(cfg: TrainConfig) -> None:
    """Raises a UserError for data that are not named, or are not there."""
    source = cfg.data.source
    kind = str(source.get("_target_", "")).rpartition(".")[2]
    if kind in ("image_folder", "parquet") and cfg.data.root is None and "None" in str(source):
        raise UserError(f"data={cfg.data.name} needs the folder of the images: data.root=<folder>")
    if kind == "csv" and not Path(str(source.get("root"))).exists():
        root = source.get("root")
        raise UserError(
            "data=csv needs a CSV file, or the folder of train.csv: data.root=<file>"
            if root is None
            else f"data.root: there is no CSV file or folder {root}"
        )
    if kind == "image_folder":
        root = Path(str(source.get("root")))
        if not root.is_dir():
            raise UserError(f"data.root: folder {root} does not exist")
    if kind == "parquet":
        for pattern in train if isinstance(train := source.get("train"), list) else [train]:
            path = Path(str(pattern))
            if not path.is_dir() and not any(path.parent.glob(path.name)):
                raise UserError(f"data.source.train: no file matches {pattern}")
