"""Segmentation from the command line: composed, trained, evaluated, predicted, exported, refused."""

import csv
import io
import json
from contextlib import redirect_stdout

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import distill
from distill.cli import evaluate, export, predict
from distill.cli.methods import methods
from distill.training.prepare import prepare
from distill.utils.errors import UserError
from jobs import composed, run_job
from tools.compose_masks import write

pytestmark = pytest.mark.slow
SMALL = ("model.width=4", "model.depth=2", "teacher.width=6", "teacher.depth=2", "threads=1", "logger=none")
MODELS = {"takd": ["kd.assistants=[unet_tiny]"], "multi_teacher": ["kd.teachers=[unet_tiny]"]}
EPOCHS = ("trainer.max_epochs=2", "teacher.recipe.max_epochs=2")
WHOLE_IMAGES = {"rkd", "pkt", "cc", "crd", "crd_inbatch", "embedding", "combined", "reviewkd"}  # what they read
OTHERS = {"hidden", "pkd", "minilm", "regression", "margin_mse", "simkd", "none", "fsp", "dml"}  # of another kind


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("segmentation")
    write(place / "shapes", images=48, size=16, classes=2)
    return place


def arguments(place, *more):
    data = ("task=segmentation", "data=masks", f"data.root={place / 'shapes'}", "trainer.accelerator=cpu")
    return *data, *SMALL, f"teachers_dir={place / 'teachers'}", f"cache.dir={place / 'cache'}", *more


@pytest.fixture(scope="module")
def report(place):
    return run_job(place / "run", *arguments(place, *EPOCHS))


def test_the_composed_set_is_the_same_again(place, tmp_path):
    write(tmp_path, images=48, size=16, classes=2)
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.png"))
    assert len(files) == 2 * 48
    assert all((tmp_path / file).read_bytes() == (place / "shapes" / file).read_bytes() for file in files)
    values = {int(v) for f in files if "masks" in f.parts for v in np.unique(np.asarray(Image.open(tmp_path / f)))}
    assert values == {0, 1, 2, 255}


def test_a_run_measures_maps(place, report):
    tested = (report["student"]["best"] or report["student"]["last"])["test"]
    assert {"miou", "acc", "agreement"} <= tested.keys()
    assert 0 < tested["miou"] < 1
    assert distill.load(place / "run").preprocess.pad
    output = place / "evaluated"
    evaluate.evaluate(evaluate.Options(run=str(place / "run"), output=str(output), map="none"))
    results = json.loads((output / "evaluation.json").read_text())
    assert results["reproduced"]["equal"]
    assert results["models"]["student"]["metrics"]["miou"] == pytest.approx(tested["miou"])
    assert len(results["models"]["student"]["by_output"]["IoU"]) == 3
    page = (output / "report.html").read_text()
    for text in ("<figcaption>truth", "<figcaption>difference", "the student alone is wrong", "% of pixels wrong"):
        assert text in page


def test_class_maps_have_the_size_of_the_image(place, report):
    images = place / "photos"
    images.mkdir()
    Image.open(place / "shapes/test/images/0000.png").save(images / "small.png")
    Image.open(place / "shapes/test/images/0001.png").resize((40, 25)).save(images / "large.jpg")
    options = predict.Options(run=str(place / "run"), inputs=[str(images)], masks=str(place / "maps"), device="cpu")
    with redirect_stdout(io.StringIO()) as printed:
        assert predict.predict(options) == 0
    for name, size in (("small", (16, 16)), ("large", (40, 25))):
        written = Image.open(place / "maps" / f"{name}.png")
        assert (written.size, written.mode) == (size, "P")
        line = next(line for line in csv.DictReader(io.StringIO(printed.getvalue())) if name in line["file"])
        classes = np.asarray(written)
        assert float(line["1"]) == pytest.approx((classes == 1).mean(), abs=1e-5)
    (seen,) = distill.load(place / "run").masks([Image.open(images / "large.jpg")])
    assert np.array_equal(seen.numpy(), np.asarray(Image.open(place / "maps" / "large.png")))


def test_the_exported_graph_is_the_student(place, report):
    export.export(
        export.Options(run=str(place / "run"), output=str(place / "exported"), format="onnx", seconds=0, threads=1)
    )
    session = onnxruntime.InferenceSession(place / "exported" / "model.onnx")
    image = Image.open(place / "shapes/test/images/0000.png")
    pixels = np.asarray(image).transpose(2, 0, 1)[None]
    (output,) = session.run(None, {"images": pixels})
    model = distill.load(place / "run")
    with torch.no_grad():
        expected = model(model.preprocess(image)[None]).numpy()
    assert output.shape == (1, 3, 16, 16)
    assert np.abs(output - expected).max() < 1e-3


@pytest.mark.parametrize("kd", sorted({*methods()} - OTHERS))
def test_every_method_fits_or_is_refused(place, tmp_path, report, kd):
    made = arguments(place, f"kd={kd}", *EPOCHS, *MODELS.get(kd, []))
    if kd in WHOLE_IMAGES:
        with pytest.raises(UserError, match="it compares whole images, and here every pixel has a class"):
            prepare(composed(*made), tmp_path)
    else:
        assert prepare(composed(*made), tmp_path).stages[-1].criterion.terms


def test_a_stride_a_second_head_and_a_term_on_maps(place, caplog):
    more = ("model=lraspp", "kd=[kd,cwd,cwd_feature,skd]", "trainer.max_epochs=1", "teacher.recipe.max_epochs=2")
    kept = [each for each in arguments(place) if not each.startswith("model.")]
    report = run_job(place / "terms", *kept, *more)
    assert {"kd", "cwd", "cwd_feature", "skd"} <= report["student"]["train"].keys()
    assert all(np.isfinite(value) for value in report["student"]["train"].values())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("model=resnet8",), "the student resnet8 must give logits of shape .* it classifies whole images"),
        (("data.augment.mixup=0.2",), r"data.augment \(mixup=0.2\) mixes two samples, and task=segmentation cannot"),
        (("task=classification", "model=resnet8", "teacher=resnet20"), "a class per pixel, .*set task=segmentation"),
        (("data.source.classes=[a,b]",), "holds the value 2 .*the 2 classes have the values 0..1, and 255 is ignored"),
        (("cache.top_k=1",), "cache.top_k keeps the largest logits of a softmax"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(place, tmp_path, change, problem):
    kept = [each for each in arguments(place) if "width" not in each and "depth" not in each]
    with pytest.raises(UserError, match=problem):
        prepare(composed(*kept, *change), tmp_path)
