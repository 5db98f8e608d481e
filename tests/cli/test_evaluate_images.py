"""Evaluation on image files instead of the run's own data."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import distill
from distill.cli.evaluate import Options, evaluate
from distill.utils.errors import UserError


def judged(folder, output, **options):
    """evaluation.json of a run, without the page."""
    options = {"report": False, **options}
    evaluate(Options(run=str(folder), output=str(output), **options))
    return json.loads(next(output.glob("evaluation*.json")).read_text())


def test_another_dataset_is_seen_as_the_runs_own(distilled, photos, tmp_path):
    found = judged(distilled, tmp_path, data="imagefolder", root=str(photos))
    assert (tmp_path / f"evaluation-imagefolder-{photos.name}-test.json").is_file()
    assert found["samples"] == 60
    assert found["reproduced"] is None
    model = distill.load(distilled)
    paths = sorted((photos / "test").rglob("*.png"))
    guesses = [name for name, _ in model.predict([Image.open(path) for path in paths])]
    right = np.mean([guess == path.parent.name for guess, path in zip(guesses, paths, strict=True)])
    assert found["models"]["student"]["acc"] == pytest.approx(right)
    assert {each["file"] for each in found["hardest"]} <= set(map(str, paths))
    assert all(Path(each["file"]).parent.name == each["class"] for each in found["hardest"])
    evaluate(Options(run=str(distilled), output=str(tmp_path), data="imagefolder", root=str(photos), map="none"))
    text = next(tmp_path.glob("report*.html")).read_text()
    assert all(f">{each['file']}</small>" in text for each in found["hardest"][:12])


def test_a_file_that_is_no_image_is_left_out_where_asked(distilled, photos, tmp_path, caplog):
    place = tmp_path / "photos"
    shutil.copytree(photos / "test", place)
    (place / "3" / "broken.png").write_text("no image")
    given = {"data": "imagefolder", "root": str(place)}
    with pytest.raises(UserError, match=r"data=imagefolder: .*broken.png cannot be read"):
        judged(distilled, tmp_path / "a", **given)
    assert judged(distilled, tmp_path / "b", **given, on_broken="skip")["samples"] == 60
    assert "broken.png" in caplog.text


def test_images_without_splits_are_taken_whole(distilled, photos, tmp_path):
    found = judged(distilled, tmp_path, data="imagefolder", root=str(photos / "val"))
    assert found["samples"] == 60


def test_some_of_the_classes_are_enough(distilled, photos, tmp_path):
    for name in ("3", "7"):
        shutil.copytree(photos / "test" / name, tmp_path / "two" / name)
    found = judged(distilled, tmp_path, data="imagefolder", root=str(tmp_path / "two"))
    assert found["samples"] == 12
    assert [sum(row) for row in found["models"]["student"]["confusion"]] == [6 * (i in (3, 7)) for i in range(10)]
