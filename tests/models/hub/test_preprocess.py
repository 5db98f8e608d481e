"""A model that prepares its inputs itself sees what it would see of the pixels."""

import copy
import pickle

import pytest
import torch
import torchvision.transforms.v2.functional as F
from torch import nn

from distill.models.hub.preprocess import OwnPreprocess, preprocess_of, published, see_with

MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)


class Records(nn.Module):
    """Keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(1, 1)

    def forward(self, x):
        self.seen = x
        return x.mean((2, 3))


def seen(own, mean, std, pixels):
    model = Records()
    see_with(model, own, mean, std)
    model(F.normalize(pixels, list(mean), list(std)))
    return model.seen


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [24, 48, 100])
def test_it_sees_the_pixels_in_its_own_size_and_normalisation(interpolation, size):
    own = OwnPreprocess((0.5, 0.4, 0.3), (0.2, 0.3, 0.5), size, interpolation)
    pixels = torch.rand(2, 3, 48, 48)
    resized = F.resize(pixels, [size, size], F.InterpolationMode(interpolation), antialias=True)
    expected = F.normalize(resized, list(own.mean), list(own.std))
    assert torch.allclose(seen(own, MEAN, STD, pixels), expected, atol=1e-5)


def test_a_grey_image_is_repeated_for_the_three_channels():
    own = OwnPreprocess(MEAN, STD, 8, "bilinear")
    pixels = torch.rand(2, 1, 8, 8)
    expected = F.normalize(pixels.expand(-1, 3, -1, -1), list(MEAN), list(STD))
    assert torch.allclose(seen(own, (0.3,), (0.7,), pixels), expected, atol=1e-5)


def test_images_that_are_not_square_keep_their_proportions():
    assert seen(OwnPreprocess(MEAN, STD, 8, "bicubic"), MEAN, STD, torch.rand(1, 3, 16, 32)).shape[2:] == (8, 16)


def test_weights_and_modules_stay_as_they_are_and_copies_see_the_same():
    model, own = Records(), OwnPreprocess(MEAN, STD, 16, "bicubic")
    keys, modules = list(model.state_dict()), [path for path, _ in model.named_modules()]
    see_with(model, own, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert list(model.state_dict()) == keys
    assert [path for path, _ in model.named_modules()] == modules
    x = torch.rand(1, 3, 8, 8)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(x), expected)
        assert preprocess_of(other) == own
    assert preprocess_of(Records()) is None


def test_a_compiled_model_sees_the_same():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    see_with(model, OwnPreprocess(MEAN, STD, 16, "bicubic"), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    x = torch.rand(2, 3, 8, 8)
    compiled = torch.compile(lambda inputs: model(inputs), backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), model(x))


@pytest.mark.parametrize(
    ("target", "name", "expected"),
    [
        ("timm_model", "tf_efficientnet_lite0", ((0.5,) * 3, (0.5,) * 3, 224, "bicubic")),
        ("timm_model", "resnet10t.c3_in1k", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 176, "bicubic")),
        ("torchvision_model", "inception_v3", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 299, "bilinear")),
        ("resnet50", None, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224, "bilinear")),
        ("resnet20", None, None),
        ("timm_model", "hf-hub:somebody/model", None),
        ("timm_model", "resnet10t.no_such_tag", None),
        ("torchvision_model", "no_such_model", None),
    ],
)
def test_what_the_libraries_publish(target, name, expected):
    node = {"_target_": f"distill.models.{target}"} | ({"name": name} if name else {})
    assert published(node) == (expected and OwnPreprocess(*expected))


def test_a_model_of_somebody_elses_has_none():
    assert published({"_target_": "their.resnet50"}) is None
