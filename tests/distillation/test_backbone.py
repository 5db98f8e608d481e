"""Models without their classifiers."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from distill.distillation.backbone import take_off_classifier
from distill.distillation.feature_extractor import extract
from distill.distillation.inspection import inspect_model
from distill.distillation.model_info import NamedModel
from distill.models import resnet8, timm_model, torchvision_model
from distill.utils.checkpoints import load_weights
from distill.utils.errors import UserError

EXAMPLE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def stripped(model, training=0):
    whole = inspect_model(model, EXAMPLE, "the model")
    expected = extract(model, [], EXAMPLE, whole.head).embedding
    return NamedModel("model", model, take_off_classifier(model, whole, EXAMPLE, 2, training)), expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: resnet8(2),
        lambda: timm_model("resnet10t", 2),
        lambda: timm_model("vit_tiny_patch16_224", 2, image_size=32),
        lambda: torchvision_model("mobilenet_v3_small", 2),
        lambda: torchvision_model("squeezenet1_1", 2),  # its classifier is a convolution
    ],
)
def test_the_output_is_what_the_classifier_read(make):
    net, expected = stripped(make(), training=2)
    with torch.no_grad():
        output = net.model.eval()(EXAMPLE)
    assert output.shape == net.model_info.embedding == net.model_info.logits
    if "squeezenet" not in type(net.model).__name__.lower():  # there a ReLU comes between
        assert torch.equal(output, expected)
    again = extract(net.model, [], EXAMPLE, net.model_info.head)
    assert again.embedding.shape == output.shape
    assert net.without == net.model_info.head


class TwoOutputs(nn.Module):
    """Gives its features beside its logits, of which only the logits count."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(8, 1000)

    def forward(self, x):
        return {"logits": self.fc(self.body(x))}


def test_a_model_that_gives_more_than_logits_and_has_its_own_classes():
    net, expected = stripped(TwoOutputs())
    with torch.no_grad():
        assert torch.equal(net.model(EXAMPLE), expected)


def test_a_model_without_a_classifier():
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match="the model has no linear classifier at its end"):
        take_off_classifier(body, inspect_model(body, EXAMPLE, "the model"), EXAMPLE, 2)


def test_weights_with_a_classifier_of_other_classes_load(tmp_path):
    whole = resnet8(1000)
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    net, _ = stripped(resnet8(2))
    load_weights(net.model, tmp_path / "whole.safetensors", "the teacher", net.without)
    assert torch.equal(net.model.conv1.weight, whole.conv1.weight)
    with pytest.raises(UserError, match="unexpected keys 2"):
        load_weights(net.model, tmp_path / "whole.safetensors", "the teacher")
