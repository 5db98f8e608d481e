"""Images of a parquet folder as files: ``python tools/parquet_folders.py <folder> <destination>``.

``labelled/{train,val,test}/<class>/<row>.png`` below the destination are the first rows of train.parquet, the rows
behind them, and the first of test.parquet; ``photos/{train,val,test}/<row>.png`` the same without classes. For
docs/results.md: a backbone distilled without labels, probed with them.
"""

import argparse
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image


def write(file: Path, first: int, count: int, split: str, destination: Path) -> None:
    """Writes ``count`` rows of the file from row ``first``, once with and once without their class."""
    table = pq.read_table(file).slice(first, count)
    names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    for number, row in enumerate(table.to_pylist()):
        for folder in ("photos/" + split, f"labelled/{split}/{names[row['label']]}"):
            path = destination / folder / f"{first + number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.open(io.BytesIO(row["img"]["bytes"])).save(path)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("destination", type=Path)
    for split, count in (("train", 5000), ("val", 500), ("test", 5000)):
        parser.add_argument(f"--{split}", type=int, default=count, help=f"images (default: {count})")
    options = parser.parse_args()
    write(options.folder / "train.parquet", 0, options.train, "train", options.destination)
    write(options.folder / "train.parquet", options.train, options.val, "val", options.destination)
    write(options.folder / "test.parquet", 0, options.test, "test", options.destination)


if __name__ == "__main__":
    main()
