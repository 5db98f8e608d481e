import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.inspection import inspect_model
from distill.distillation.simkd import SimKD
from distill.losses.features.simkd import simkd_loss
from distill.models import (
    mobilenetv2,
    resnet8,
    resnet8x4,
    resnet14,
    shufflenetv1,
    shufflenetv2,
    timm_model,
    vgg8,
    wrn_16_1,
    wrn_16_2,
)

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def wrapped(student, teacher, x=X, **kwargs):
    return SimKD(
        student,
        inspect_model(student, x, "the student"),
        teacher,
        inspect_model(teacher, x, "the teacher"),
        x,
        **kwargs,
    )


def trained(make):
    """A model whose BatchNorms and classifier are not as initialised."""
    torch.manual_seed(7)
    model = make(10).train()
    with torch.no_grad():
        model(torch.randn(8, 3, 32, 32))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.normal_(0, 0.3)
            elif isinstance(module, nn.Linear):
                module.weight.normal_()
                module.bias.normal_()
    return model.eval()


def test_logits_are_the_teachers_classifier_of_the_projected_map():
    student, teacher = trained(resnet8), trained(resnet8x4)
    original = copy.deepcopy(student)
    model = wrapped(student, teacher).eval()
    map_ = original.layer3(original.layer2(original.layer1(original.relu(original.bn1(original.conv1(X))))))
    assert model.projector(map_).shape == (2, 256, 8, 8)
    expected = F.linear(model.projector(map_).mean((2, 3)), teacher.fc.weight, teacher.fc.bias)
    torch.testing.assert_close(model(X), expected)


def test_projector_has_the_papers_layers():
    projector = wrapped(resnet8(10), resnet8x4(10), factor=4).projector
    shapes = [tuple(m.weight.shape) for m in projector if isinstance(m, nn.Conv2d)]
    assert shapes == [(64, 64, 1, 1), (64, 64, 3, 3), (256, 64, 1, 1)]
    assert [type(m) for m in projector] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3
    assert all(m.bias is None for m in projector if isinstance(m, nn.Conv2d))
    assert wrapped(resnet8(10), resnet8x4(10)).projector[0].out_channels == 128


def test_a_perfect_projector_gives_the_teachers_answer():
    """The loss is 0 where the logits are the teacher's."""
    teacher = trained(resnet8x4)
    model = wrapped(copy.deepcopy(teacher), teacher).eval()
    model.projector = nn.Identity()
    torch.testing.assert_close(model(X), teacher(X))
    extractor = FeatureExtractor(teacher, ["layer3"])
    assert (
        simkd_loss(
            FeatureExtractor(model, ["projector"])(X).features["projector"], extractor(X).features["layer3"]
        ).item()
        == 0
    )


def test_the_classifier_is_a_frozen_copy_and_the_rest_learns():
    teacher = trained(resnet8x4)
    model = wrapped(resnet8(10), teacher)
    assert model.classifier is not teacher.fc
    assert teacher.fc.weight.requires_grad
    simkd_loss(FeatureExtractor(model, ["projector"])(X).features["projector"], torch.randn(2, 256, 8, 8)).backward()
    assert not any(p.requires_grad for p in model.classifier.parameters())
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_adopts_the_trained_classifier():
    teacher = resnet8x4(10)
    model = wrapped(resnet8(10), teacher)
    with torch.no_grad():
        teacher.fc.weight.normal_()
    assert not torch.equal(model.classifier.weight, teacher.fc.weight)
    model.adopt(teacher)
    assert torch.equal(model.classifier.weight, teacher.fc.weight)
    assert model.classifier.weight.data_ptr() != teacher.fc.weight.data_ptr()
    assert not model.classifier.weight.requires_grad


@pytest.mark.parametrize(
    ("student", "gone"),
    [
        (resnet8, ["fc"]),
        (vgg8, ["classifier"]),
        (mobilenetv2, ["conv2", "classifier"]),
        (shufflenetv1, ["linear"]),
        (shufflenetv2, ["conv2", "bn2", "linear"]),
        (wrn_16_1, ["bn1", "fc"]),
    ],
)
def test_nothing_is_kept_that_is_never_used(student, gone):
    original = student(10)
    lost = sum(p.numel() for name, p in original.named_parameters() if name.split(".")[0] in gone)
    model = wrapped(copy.deepcopy(original), resnet8x4(10))
    own = sum(p.numel() for p in original.parameters())
    assert sum(p.numel() for p in model.backbone.parameters()) == own - lost
    model.train()(X).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_a_layer_inside_another_is_kept_with_what_is_around_it():
    model = wrapped(resnet8(10), resnet8x4(10), student_layer="layer3.0")
    assert not isinstance(model.backbone.layer3, nn.Identity)
    assert isinstance(model.backbone.fc, nn.Identity)
    assert all(p.requires_grad for p in model.backbone.parameters())


class Rigid(nn.Module):
    """Its forward counts on the width of the layer after the last map."""

    stages = ("conv",)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.wide = nn.Conv2d(4, 6, 1)
        self.fc = nn.Linear(6, 10)

    def forward(self, x):
        return self.fc(self.wide(self.conv(x)).mean((2, 3)).view(-1, 6))


class Inplace(Rigid):
    def __init__(self):
        super().__init__()
        self.wide = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(F.relu(self.wide(self.conv(x)), inplace=True).mean((2, 3)))


@pytest.mark.parametrize("student", [Rigid, Inplace])
def test_a_student_that_needs_its_tail_keeps_it_frozen(student):
    model = wrapped(student(), resnet8(10), student_layer="conv")
    assert isinstance(model.backbone.fc, nn.Identity)
    assert not isinstance(model.backbone.wide, nn.Identity)
    assert not any(p.requires_grad for p in model.backbone.wide.parameters())
    model(X).sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_state_dict_loads_into_a_new_wrapper():
    model = wrapped(trained(resnet8), trained(resnet8x4)).eval()
    fresh = wrapped(resnet8(10), resnet8x4(10)).eval()
    assert {name.split(".")[0] for name in model.state_dict()} == {"backbone", "projector", "classifier"}
    assert not torch.allclose(fresh(X), model(X))
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(X), model(X))


def test_taps_and_stages_work_as_on_any_model():
    model = wrapped(resnet8(10), resnet8x4(10))
    model_info = inspect_model(model, X, "the student")
    assert model_info.stages == ("backbone.relu", "backbone.layer1", "backbone.layer2", "backbone.layer3")
    assert model_info.shapes[model_info.layer(-1)] == (2, 64, 8, 8)
    assert model_info.shapes[model_info.layer("projector")] == (2, 256, 8, 8)
    assert (model_info.logits, model_info.head, model_info.embedding) == ((2, 10), "classifier", (2, 256))
    assert model._captured is None


@pytest.mark.parametrize(("student", "size"), [(vgg8, 4), (mobilenetv2, 2), (resnet14, 8)])
def test_smaller_and_equal_maps_are_taken_as_they_are(student, size):
    model = wrapped(student(10), resnet8x4(10))
    assert FeatureExtractor(model, ["projector"])(X).features["projector"].shape == (2, 256, size, size)


def test_a_larger_map_is_pooled_to_the_teachers_before_the_projector():
    model = wrapped(trained(resnet8), trained(vgg8)).eval()
    seen = FeatureExtractor(model, ["backbone.layer3", "projector"])(X).features
    assert seen["projector"].shape == (2, 512, 4, 4)
    torch.testing.assert_close(seen["projector"], model.projector(F.avg_pool2d(seen["backbone.layer3"], 2)))
    assert model(F.interpolate(X, 48)).shape == (2, 10)


@pytest.mark.parametrize(("teacher", "shape"), [(wrn_16_2, "128, 8, 8"), (mobilenetv2, "160, 2, 2")])
def test_a_teacher_whose_classifier_reads_something_else_is_refused(teacher, shape):
    """The WideResNet's shapes agree; a BatchNorm and a ReLU stand between map and classifier."""
    with pytest.raises(ValueError, match=rf"\(2, {shape}\), the classifier '.+' reads \(2, ") as error:
        wrapped(resnet8(10), teacher(10))
    assert ("conv2" in str(error.value)) == (teacher is mobilenetv2)
    if teacher is mobilenetv2:
        assert wrapped(resnet8(10), teacher(10), teacher_layer="conv2").projector[-3].out_channels == 1280


def test_layers_that_are_no_maps_are_refused():
    with pytest.raises(ValueError, match=r"needs a map of the student, and layer 'fc' gives none: .*\(2, 10\)"):
        wrapped(resnet8(10), resnet8x4(10), student_layer="fc")
    with pytest.raises(ValueError, match="not 'layer3:input'"):
        wrapped(resnet8(10), resnet8x4(10), student_layer="layer3:input")


@pytest.mark.parametrize("factor", [0, -1, 1.5, True])
def test_bad_factor(factor):
    with pytest.raises(ValueError, match=f"factor must be an integer of at least 1, got {factor}"):
        wrapped(resnet8(10), resnet8x4(10), factor=factor)


def test_a_transformer_as_student():
    torch.manual_seed(0)
    student = timm_model("vit_tiny_patch16_224", num_classes=10, in_channels=3, image_size=32, patch_size=4, depth=2)
    model = wrapped(student, resnet8x4(10), student_layer="blocks.1")
    assert FeatureExtractor(model, ["projector"])(X).features["projector"].shape == (2, 256, 8, 8)


def test_building_leaves_modes_and_teacher_alone():
    student, teacher = resnet8(10), resnet8x4(10)
    student.layer1.eval()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    model = wrapped(student, teacher)
    assert teacher.training
    assert model.backbone.layer2.training
    assert not model.backbone.layer1.training
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())
    assert sum(len(m._forward_hooks) for m in model.modules()) == 1


def test_a_copy_is_independent():
    model = wrapped(trained(resnet8), trained(resnet8x4)).eval()
    twin = copy.deepcopy(model)
    expected = model(X)
    with torch.no_grad():
        model.backbone.conv1.weight.zero_()
    torch.testing.assert_close(twin(X), expected)
    assert not torch.allclose(model(X), expected)


def test_a_call_of_the_backbone_alone_leaves_nothing_behind():
    model = wrapped(resnet8(10), resnet8x4(10))
    model.backbone(X)
    assert model._captured is None
    with pytest.raises(RuntimeError):
        model(torch.randn(2, 4, 32, 32))
    assert model._captured is None


def test_compiles_and_exports():
    model = wrapped(trained(resnet8), trained(resnet8x4)).eval()
    expected = model(X)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(X), expected)
    torch.testing.assert_close(torch.export.export(model, (X,)).module()(X), expected)
    model.train()(X).sum().backward()


def test_autocast():
    model = wrapped(trained(resnet8), trained(resnet8x4)).eval()
    with torch.autocast("cpu", torch.bfloat16):
        low = model(X)
    torch.testing.assert_close(low.float(), model(X), rtol=0.1, atol=0.3)
