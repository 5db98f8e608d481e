"""All weights but the classifier's, from files as other programs write them."""

import pytest
import torch
from safetensors.torch import save_file

from distill.models import resnet8, resnet14, timm_model
from distill.utils.backbone import load_backbone
from distill.utils.errors import UserError

HEAD = ("fc",)


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(1)
    model = resnet8(1000)
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.running_mean.normal_()
    return model


def without_head(state):
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def line_of(path, weights, model=None, heads=HEAD):
    if path.suffix == ".safetensors":
        save_file({key: value.contiguous() for key, value in weights.items()}, path)
    else:
        torch.save(weights, path)
    return load_backbone(resnet8(10) if model is None else model, path, "the teacher resnet8", heads)


@pytest.mark.parametrize(
    ("wrap", "renamed"),
    [
        (lambda w: w, ""),
        (lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}, "epoch": 3}, "module."),
        (lambda w: {"model": {f"backbone.{k}": v for k, v in w.items()}}, "backbone."),
        (lambda w: {"model_ema": {f"module.encoder.{k}": v for k, v in w.items()}}, "module.encoder."),
        (lambda w: {"net": {f"_orig_mod.{k}": v for k, v in w.items()}}, "_orig_mod."),
        (lambda w: {f"model.{k}": v for k, v in w.items()}, "model."),
    ],
)
def test_a_file_of_other_classes_gives_all_but_the_classifier(tmp_path, source, wrap, renamed):
    model = resnet8(10)
    line = line_of(tmp_path / "x.pt", wrap(source.state_dict()), model)
    after = model.state_dict()
    assert same(without_head(after), without_head(source.state_dict()))
    assert after["fc.weight"].shape[0] == 10
    assert after["fc.weight"].std().item() == pytest.approx(0.01, rel=0.2)
    assert not after["fc.bias"].any()
    number = len(without_head(after))
    names = f" (names without '{renamed}')" if renamed else ""
    assert line == (
        f"the teacher resnet8: {number} weights from {tmp_path / 'x.pt'}{names}; "
        "its classifier (fc) is new, left out: fc (2)"
    )


def test_what_stands_beside_the_backbone_is_left_out_and_said(tmp_path, source):
    """A checkpoint of contrastive learning: the backbone under a prefix, projection and queue beside it."""
    weights = {f"encoder.{key}": value for key, value in without_head(source.state_dict()).items()}
    weights |= {"projector.0.weight": torch.ones(3), "projector.2.weight": torch.ones(3), "queue": torch.ones(2)}
    model = resnet8(10)
    line = line_of(tmp_path / "x.safetensors", weights, model)
    assert same(without_head(model.state_dict()), without_head(source.state_dict()))
    assert line.endswith("its classifier (fc) is new, left out: projector (2), queue (1)")


def test_a_grey_image_gives_the_response_that_it_gave_in_colour(tmp_path):
    torch.manual_seed(2)
    colour, grey = timm_model("test_resnet", 7), timm_model("test_resnet", 3, in_channels=1)
    line = line_of(tmp_path / "x.safetensors", colour.state_dict(), grey, ("fc",))
    assert ", 3 input channels summed for 1; " in line
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected, found = (
            model.eval().forward_features(x) for model, x in ((colour, image.expand(-1, 3, -1, -1)), (grey, image))
        )
    assert torch.allclose(expected, found, atol=1e-5)


def test_missing_counters_of_batches_are_no_mistake(tmp_path, source):
    weights = {key: value for key, value in source.state_dict().items() if "num_batches" not in key}
    assert "weights from" in line_of(tmp_path / "x.pt", weights)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            lambda: resnet14(10).state_dict(),
            r"fits 45 of the 45 .*: it holds 18 \(layer1\.1\.conv1\.weight, .* that the model",
        ),
        (
            lambda: resnet14(10).state_dict() | {"layer1.0.conv1.weight": torch.ones(3)},
            r"1 of other shapes .*; it holds",
        ),
        (lambda: {f"blocks.{i}.w": torch.ones(2) for i in range(5)}, r"fits 0 of the \d+ weights of the teacher"),
        (lambda: resnet8(10, 1).state_dict() | {"conv1.weight": torch.ones(16, 3, 7, 7)}, r"1 of other shapes \(conv1"),
        (lambda: {"conv1.weight": torch.ones(16, 3, 3, 3)}, r"fits 1 of the \d+ .*: missing \d+ \(bn1\.weight"),
        (lambda: resnet8(10).state_dict() | {"conv1.weight": torch.full((16, 3, 3, 3), torch.nan)}, "'conv1.weight'"),
        (lambda: {"epoch": 3}, "holds no weights; its keys: epoch"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_and_changes_nothing(tmp_path, weights, message):
    model = resnet8(10)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save(weights(), tmp_path / "x.pt")
    with pytest.raises(UserError, match=message) as error:
        load_backbone(model, tmp_path / "x.pt", "the teacher resnet8", HEAD)
    assert "\n" not in str(error.value)
    assert same(before, model.state_dict())


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="pickled objects"):
        load_backbone(resnet8(10), tmp_path / "x.pt", "the teacher", HEAD)
    assert capsys.readouterr().out == ""
