"""Stage pairs and pre-activations of the zoo, torchvision and timm."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.inspection import inspect_model
from distill.distillation.stage_matching import stage_pairs
from distill.models import (
    from_teacher,
    hf_model,
    mobilenetv2,
    resnet8,
    resnet20,
    shufflenetv1,
    shufflenetv2,
    timm_model,
    torchvision_model,
    vgg8,
    wrn_16_1,
)
from distill.utils.errors import UserError
from text_models import batch, save_model

SMALL, LARGE = torch.randn(2, 3, 32, 32), torch.randn(2, 3, 64, 64)


def info(model, x=SMALL, name="the student"):
    return inspect_model(model, x, name)


def test_equal_stages_are_paired_by_size_without_the_stem():
    assert stage_pairs(info(resnet8(10)), info(resnet20(10)), "at") == [(f"layer{i}", f"layer{i}") for i in (1, 2, 3)]


def test_other_families_are_paired_at_common_sizes():
    assert stage_pairs(info(mobilenetv2(10)), info(resnet20(10)), "at") == [
        ("blocks.1", "layer2"),
        ("blocks.2", "layer3"),
    ]
    # 32×32 is VGG's first block only, which counts as its stem
    assert stage_pairs(info(resnet20(10)), info(vgg8(10)), "at") == [("layer2", "relu1"), ("layer3", "relu2")]


def test_a_transformer_is_paired_by_depth():
    vit = info(timm_model("vit_tiny_patch16_224", 10, image_size=32))
    assert stage_pairs(info(resnet8(10)), vit, "at") == [
        ("layer1", "blocks.3"),
        ("layer2", "blocks.7"),
        ("layer3", "blocks.11"),
    ]
    assert stage_pairs(vit, info(resnet8(10)), "at")[-1] == ("blocks.11", "layer3")


def test_swin_gives_channels_last_maps():
    swin = torchvision_model("swin_t", 10).eval()
    model_info = info(swin, LARGE)
    pairs = stage_pairs(info(torchvision_model("resnet18", 10), LARGE), model_info, "at")
    assert [left for left, _ in pairs] == ["layer1", "layer2", "layer3", "layer4"]
    key = pairs[0][1]
    assert key == "features.1:channels_last"
    assert model_info.shape(key) == (2, 96, 16, 16)
    assert model_info.shape(pairs[-1][1]) == (2, 768, 2, 2)
    assert FeatureExtractor(swin, [key])(LARGE).features[key].shape == model_info.shape(key)


def test_torchvision_and_timm_are_paired():
    pairs = stage_pairs(
        info(timm_model("mobilenetv3_small_050", 10), LARGE), info(torchvision_model("resnet18", 10), LARGE), "at"
    )
    assert [right for _, right in pairs][-1] == "layer4"
    assert len(pairs) >= 3


def test_a_model_without_stages_is_an_error():
    flat = info(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)))
    with pytest.raises(
        UserError,
        match=r"term 'at' reads inner layers, and the student has no known stages: .*kd.terms.at.student=\[...\]",
    ):
        stage_pairs(flat, info(resnet8(10)), "at")


@pytest.mark.parametrize("make", [resnet8, resnet20, vgg8, shufflenetv1, shufflenetv2])
def test_pre_activations_become_the_stage_through_a_relu(make):
    model = make(10).eval()
    model_info = info(model)
    for i in range(1, len(model_info.stages)):
        stage, before = model_info.layer(i), model_info.preactivation(i)
        features = FeatureExtractor(model, [stage, before])(SMALL).features
        assert features[before].min() < 0
        torch.testing.assert_close(F.relu(features[before]), features[stage])
        assert model_info.shape(before) == model_info.shape(stage) == features[before].shape


def test_pre_activations_where_a_module_works_in_place():
    model = torchvision_model("resnet18", 10).eval()
    model_info = info(model, LARGE)
    stage, before = model_info.layer(-1), model_info.preactivation(-1)
    assert before == "layer4.1.relu:input"
    features = FeatureExtractor(model, [stage, before])(LARGE).features
    assert features[before].min() < 0
    torch.testing.assert_close(F.relu(features[before]), features[stage])
    assert model_info.norms["layer4.1.relu"] == "layer4.1.bn2"


def test_pre_activations_of_networks_that_normalise_first():
    """The wide ResNet's stage is followed by BatchNorm and ReLU: the BatchNorm's output is what the ReLU reads."""
    model_info = info(wrn_16_1(10))
    assert [model_info.preactivation(i) for i in (1, 2, 3)] == ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]
    assert model_info.norms["bn1"] == "bn1"


def test_linear_outputs_are_their_own_pre_activation():
    assert info(mobilenetv2(10)).preactivation(2) == "blocks.2"
    vit = info(timm_model("vit_tiny_patch16_224", 10, image_size=32))
    assert vit.preactivation(-1) == "blocks.11"


def test_norms_skip_the_shortcut():
    model_info = info(resnet8(10))
    assert model_info.norms["layer2.0.relu"] == "layer2.0.bn2"


def test_an_unknown_pre_activation_is_an_error():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = Body()
            self.fc = nn.Linear(4, 10)

        def forward(self, x):
            return self.fc(self.body(x).mean((2, 3)))

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return F.relu(self.conv(x))

    model_info = info(Functional())
    with pytest.raises(
        UserError, match="what comes before the activation of layer 'body' of the student cannot be told"
    ):
        model_info.preactivation("body")
    assert model_info.preactivation("body.conv") == "body.conv"
    assert model_info.layer("body.conv:input") == "body.conv:input"
    assert model_info.shape("body.conv:input") == (2, 3, 32, 32)


def test_encoder_layers_are_paired_with_those_that_from_teacher_takes(tmp_path):
    teacher = hf_model(str(save_model(tmp_path / "bert")), 3)
    student = from_teacher(str(tmp_path / "bert"), 2, 3)
    pairs = stage_pairs(info(student, batch()), info(teacher, batch(), "the teacher"), "hidden")
    layers = "model.bert.encoder.layer"
    assert pairs == [(f"{layers}.0", f"{layers}.1"), (f"{layers}.1", f"{layers}.3")]
    assert list(student.teacher_layers) == [1, 3]


def test_layers_that_were_chosen_are_paired_with_those_they_were_taken_from(tmp_path):
    name = str(save_model(tmp_path / "bert"))
    teacher = info(hf_model(name, 3), batch(), "the teacher")
    layers = "model.bert.encoder.layer"
    for chosen in ([0, 2], [0, 1], [3]):
        pairs = stage_pairs(info(from_teacher(name, chosen, 3), batch()), teacher, "hidden")
        assert pairs == [(f"{layers}.{i}", f"{layers}.{k}") for i, k in enumerate(chosen)]
    assistant = info(from_teacher(name, [0, 2, 3], 3), batch(), "the assistant")
    pairs = stage_pairs(info(from_teacher(name, [0, 2], 3), batch()), assistant, "hidden")
    assert pairs == [(f"{layers}.0", f"{layers}.1"), (f"{layers}.1", f"{layers}.2")]  # by depth: they are other layers
