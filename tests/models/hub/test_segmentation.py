"""Torchvision's segmenters and SegFormer: strides, second heads, weights from a file."""

import pytest
import torch
import torchvision

from distill.distillation.inspection import inspect_model
from distill.models import resnet8, segformer, torchvision_segmenter
from distill.utils.backbone import load_backbone
from distill.utils.errors import UserError

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "fcn_resnet50"])
def test_a_segmenter_is_torchvisions_at_its_own_stride(name):
    torch.manual_seed(0)
    original = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=5).eval()
    ours = torchvision_segmenter(name, 5, **({} if name.startswith("lraspp") else {"aux_loss": False})).eval()
    ours.load_state_dict(original.state_dict())
    with torch.no_grad():
        small, full = ours(IMAGES), original(IMAGES)["out"]
    assert small.shape == (2, 5, 4, 4)
    enlarged = torch.nn.functional.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    assert torch.allclose(enlarged, full, atol=1e-5)


def test_the_second_head_runs_in_training_alone():
    model = torchvision_segmenter("fcn_resnet50", 5)
    calls = []
    model.aux_classifier.register_forward_hook(lambda *_: calls.append(1))
    model.train()(IMAGES)
    model.eval()(IMAGES)
    assert calls == [1]
    info = inspect_model(model, IMAGES, "the student", 5, dims=4)
    assert (info.auxiliary, info.head) == ("aux_classifier", "classifier.4")
    assert info.logits == (2, 5, 4, 4)


def test_torchvisions_own_dicts_are_understood():
    model = torchvision.models.segmentation.fcn_resnet50(
        weights=None, weights_backbone=None, num_classes=5, aux_loss=True
    )
    info = inspect_model(model, IMAGES, "the student", 5, training=2, dims=4)
    assert info.logits == (2, 5, 32, 32)
    assert (info.auxiliary, info.head) == ("aux_classifier", "classifier.4")
    assert isinstance(model(IMAGES), torch.Tensor)


def test_grey_images():
    assert torchvision_segmenter("lraspp_mobilenet_v3_large", 4, in_channels=1).eval()(IMAGES[:, :1]).shape[1] == 4


def test_segformer_gives_a_quarter_of_the_size():
    model = segformer(5, depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], decoder_hidden_size=16)
    info = inspect_model(model, IMAGES.repeat(1, 1, 2, 2), "the student", 5, training=2, dims=4)
    assert info.logits == (2, 5, 16, 16)
    assert len(info.stages) == 4
    assert model(IMAGES).shape == (2, 5, 8, 8)


def test_a_classifiers_file_is_the_backbone(tmp_path):
    torch.manual_seed(1)
    classifier = torchvision.models.resnet50(weights=None)
    torch.save(classifier.state_dict(), tmp_path / "resnet50.pt")
    model = torchvision_segmenter("fcn_resnet50", 5)
    load_backbone(model.backbone, tmp_path / "resnet50.pt", "the backbone", ())
    assert torch.equal(model.backbone.layer4[2].conv3.weight, classifier.layer4[2].conv3.weight)
    mobile = torchvision.models.mobilenet_v3_large(weights=None)
    torch.save(mobile.state_dict(), tmp_path / "mobile.pt")
    small = torchvision_segmenter("lraspp_mobilenet_v3_large", 5)
    load_backbone(small.backbone, tmp_path / "mobile.pt", "the backbone", ())
    assert torch.equal(small.backbone["0"][0].weight, mobile.features[0][0].weight)


def test_names_and_arguments_that_are_unknown():
    with pytest.raises(UserError, match="did you mean .*lraspp_mobilenet_v3_large"):
        torchvision_segmenter("lraspp_mobilenet", 5)
    with pytest.raises(UserError, match="weights_backbone"):
        torchvision_segmenter("fcn_resnet50", 5, weights_backbone=None)
    with pytest.raises(UserError, match="size=b9"):
        segformer(5, size="b9")


def test_a_classifier_is_no_segmenter():
    expected = r"shape \(N, 5, H, W\), got \(1, 5\): it classifies whole images; unet_tiny, lraspp, segformer"
    with pytest.raises(UserError, match=expected):
        inspect_model(resnet8(5), IMAGES, "the student resnet8", 5, dims=4)
