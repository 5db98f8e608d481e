import pytest
import torch
from torch import nn

from distill.models import resnet18, resnet34, resnet50
from distill.utils.errors import UserError

COUNTS = {resnet18: (11_220_132, 11_227_812), resnet34: (21_328_292, 21_335_972), resnet50: (23_705_252, 23_712_932)}


@pytest.mark.parametrize("factory", COUNTS)
@pytest.mark.parametrize(("image_size", "column"), [(32, 0), (64, 0), (65, 1), (224, 1)])
def test_parameters_for_both_stems(factory, image_size, column):
    with torch.device("meta"):
        model = factory(100, image_size=image_size)
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[factory][column]


@pytest.mark.parametrize(
    ("image_size", "stem"), [(8, (64, 8, 8)), (32, (64, 32, 32)), (96, (64, 24, 24))], ids=["digits", "cifar", "stl"]
)
def test_stem_and_stages(image_size, stem):
    shapes = []
    model = resnet18(10, in_channels=1, image_size=image_size).eval()
    for path in model.stages:
        hook = lambda _module, _inputs, output: shapes.append(tuple(output.shape[1:]))  # noqa: E731
        model.get_submodule(path).register_forward_hook(hook)
    with torch.no_grad():
        assert model(torch.randn(2, 1, image_size, image_size)).shape == (2, 10)
    assert len(shapes) == 5
    assert shapes[:2] == [stem, stem]
    assert shapes[-1][0] == 512


def test_pretrained_weights_are_kept_but_for_the_small_stem(monkeypatch):
    torch.manual_seed(0)
    weights = resnet18(1000).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_args, **_kwargs: dict(weights))
    small = resnet18(10, in_channels=1, image_size=32, pretrained=True)
    assert small.conv1.weight.shape == (64, 1, 3, 3)
    assert isinstance(small.maxpool, nn.Identity)
    large = resnet18(10, image_size=224, pretrained=True)
    assert torch.equal(large.conv1.weight, weights["conv1.weight"])
    for model in (small, large):
        assert model.fc.out_features == 10
        assert torch.equal(model.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])


def test_bad_image_size():
    with pytest.raises(UserError, match="image_size must be an integer of at least 1, got 0"):
        resnet18(10, image_size=0)
