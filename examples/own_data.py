"""Images of your own: a folder per class, from which a validation and a test split are carved."""

from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

import distill

FOLDER = Path("outputs/examples/own_data")


def write_photos(folder: Path) -> None:
    """Stands for your photos: the digits 0 to 4 as files, ``<class>/<number>.png``."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < 5:
            path = folder / f"digit-{label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((pixels * 15.9).astype("uint8")).resize((16, 16)).save(path)


def main() -> None:
    """Image size, channels, classes and batch size come from the files."""
    photos = FOLDER / "photos"
    write_photos(photos)
    summary = distill.train(
        {
            "data": "imagefolder",
            "data.root": str(photos),
            "model": "resnet8",
            "teacher": "resnet14",
            "teacher.recipe.max_epochs": 5,
            "trainer.max_epochs": 5,
        },
        output_dir=FOLDER / "run",
    )
    assert summary.student is not None
    data = summary.data
    print(f"{data.train} images to train, {data.val} to validate, {data.test} to test; {data.class_names}")
    print(f"the student is right on {summary.student.test['acc']:.1%} of the test images")
    some = sorted(photos.glob("*/*.png"))[::200]
    for path, predicted in zip(some, distill.load(FOLDER / "run").predict([Image.open(p) for p in some]), strict=True):
        print(path.parent.name, "->", predicted)


if __name__ == "__main__":
    main()
