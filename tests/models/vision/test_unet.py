import pytest
import torch

from distill.models import unet
from distill.utils.errors import UserError


@pytest.mark.parametrize("size", [(32, 32), (17, 20), (1, 5)])
def test_logits_are_as_large_as_the_image(size):
    model = unet(num_classes=3, in_channels=2, width=4, depth=3).eval()
    assert model(torch.zeros(2, 2, *size)).shape == (2, 3, *size)


def test_every_parameter_has_a_gradient_and_stages_are_there():
    model = unet(num_classes=3, width=4, depth=2)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert {*model.stages} <= dict(model.named_modules()).keys()


@pytest.mark.parametrize("settings", [{"width": 0}, {"depth": 0}, {"num_classes": 0}])
def test_sizes_out_of_range(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        unet(**({"num_classes": 3} | settings))
