import pytest
import torch
from torch import nn

from distill.distillation.feature_extractor import FeatureExtractor
from distill.distillation.inspection import inspect_model
from distill.models import resnet8, timm_model, torchvision_model, wrn_16_1
from distill.utils.errors import UserError


class Custom(nn.Module):
    """Reuses a layer, returns a tuple inside, flattens functionally."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.pair = Pair()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(4)
        self.out = nn.Linear(4, 6)

    def forward(self, x):
        x = self.act(self.norm(self.conv(x)))
        x, _ = self.pair(self.act(x))
        return self.out(self.drop(x.mean((2, 3))))


class Pair(nn.Module):
    def forward(self, x):
        return x + 1, "note"


def test_inspect_model_records_shapes_and_changes_nothing():
    model = Custom().train()
    model.norm.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model_info = inspect_model(model, torch.randn(2, 3, 5, 5), "the student Custom")
    assert model_info.shapes["conv"] == (2, 4, 5, 5)
    assert model_info.shapes["pair"] == (2, 4, 5, 5)
    assert (model_info.logits, model_info.head, model_info.embedding) == ((2, 6), "out", (2, 4))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training
    assert not model.norm.training
    assert not any(m._forward_hooks for m in model.modules())


def test_the_extractor_returns_layers_and_embedding_and_stores_nothing():
    model = Custom().eval()
    keys = set(model.state_dict())
    extractor = FeatureExtractor(model, ["conv", "pair", "conv"], head="out")
    x = torch.randn(2, 3, 5, 5)
    outputs = extractor(x)
    assert list(outputs.features) == ["conv", "pair"]
    torch.testing.assert_close(outputs.features["conv"], model.conv(x))
    torch.testing.assert_close(model.out(outputs.embedding), outputs.logits)
    assert set(model.state_dict()) == keys
    assert not any(isinstance(value, (torch.Tensor, dict)) for value in vars(extractor).values())
    outputs.features["conv"].sum().backward()
    assert model.conv.weight.grad is not None


def test_a_classifier_may_call_a_layer_as_language_models_do():
    """Its logits are no hidden states."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.output_layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.output_layer(x)

    found = FeatureExtractor(Net(), [])(torch.ones(2, 4))
    assert found.head is None
    assert found.logits.shape == (2, 4)


def test_layers_by_stage_or_path():
    model_info = inspect_model(resnet8(10), torch.randn(2, 3, 32, 32), "the student resnet8")
    assert [model_info.layer(i) for i in (0, 1, 2, 3, -1)] == ["relu", "layer1", "layer2", "layer3", "layer3"]
    assert model_info.layer("layer2.0.conv1") == "layer2.0.conv1"
    with pytest.raises(UserError, match=r"the student resnet8 has no layer 'layr2': did you mean 'layer2'"):
        model_info.layer("layr2")
    with pytest.raises(UserError, match=r"has no stage 4; its stages: 0 = relu, 1 = layer1"):
        model_info.layer(4)


def test_a_layer_that_runs_twice_is_an_error():
    model_info = inspect_model(Custom(), torch.randn(2, 3, 5, 5), "the student Custom")
    with pytest.raises(UserError, match="'act' of the student Custom runs 2 times"):
        model_info.layer("act")


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("resnet18", ("layer1", "layer2", "layer3", "layer4")),
        ("densenet121", ("features.denseblock1", "features.denseblock2", "features.denseblock3")),
        ("mobilenet_v3_small", ("features.1", "features.3", "features.8")),
    ],
)
def test_stages_of_an_unknown_model_are_found_by_map_size(name, last):
    model_info = inspect_model(torchvision_model(name, 10), torch.randn(2, 3, 96, 96), f"the teacher {name}")
    assert set(last) <= set(model_info.stages)
    sizes = [model_info.shapes[path][2] for path in model_info.stages]
    assert sizes == sorted(sizes, reverse=True)
    assert not any(path.startswith("classifier") for path in model_info.stages)


def test_timm_models_list_their_stages():
    cnn = inspect_model(timm_model("mobilenetv3_small_050", 10), torch.randn(2, 3, 64, 64), "the teacher")
    assert (cnn.stages[0], cnn.stages[-1]) == ("bn1", "blocks.5")
    assert all(len(cnn.shapes[path]) == 4 for path in cnn.stages)
    vit = inspect_model(timm_model("vit_tiny_patch16_224", 10, image_size=32), torch.randn(2, 3, 32, 32), "the teacher")
    assert vit.layer(-1) == "blocks.11"


def test_channels_last_maps_become_channels_first():
    model = torchvision_model("swin_t", 10).eval()
    x = torch.randn(2, 3, 64, 64)
    swin = inspect_model(model, x, "the teacher swin_t")
    key = swin.layer("features.3")
    assert (key, swin.shape(key)) == ("features.3:channels_last", (2, 192, 8, 8))
    feature = FeatureExtractor(model, [key])(x).features[key]
    torch.testing.assert_close(feature, model.features[:4](x).permute(0, 3, 1, 2))


def test_an_output_that_is_overwritten_in_place_is_an_error():
    model_info = inspect_model(torchvision_model("resnet18", 10), torch.randn(2, 3, 64, 64), "the teacher resnet18")
    with pytest.raises(UserError, match=r"layer 'layer1.0.bn2' of the teacher resnet18 is overwritten in place"):
        model_info.layer("layer1.0.bn2")
    assert model_info.layer("layer1.0") == "layer1.0"


def test_a_head_called_with_keywords():
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(12, 5)

        def forward(self, x):
            return self.head(input=x.flatten(1))

    model_info = inspect_model(Keywords(), torch.randn(2, 3, 2, 2), "the student")
    assert (model_info.head, model_info.embedding) == ("head", (2, 12))
    extractor = FeatureExtractor(Keywords(), (), "head")
    assert extractor(torch.randn(3, 3, 2, 2)).embedding.shape == (3, 12)
    extractor.remove()
    assert extractor(torch.randn(3, 3, 2, 2)).embedding is None


@pytest.mark.parametrize("spec", [True, 1.5, {"a": 1}, None])
def test_a_layer_is_a_number_or_a_path(spec):
    model_info = inspect_model(resnet8(10), torch.randn(2, 3, 32, 32), "the student resnet8")
    with pytest.raises(UserError, match="a stage's number or a module path, got"):
        model_info.layer(spec)


def test_a_convolution_as_head_gives_a_pooled_embedding():
    model = torchvision_model("squeezenet1_1", 10).eval()
    model_info = inspect_model(model, torch.randn(2, 3, 64, 64), "the teacher squeezenet1_1")
    assert model_info.embedding == (2, 512)
    assert FeatureExtractor(model, (), model_info.head)(torch.randn(3, 3, 64, 64)).embedding.shape == (3, 512)


def test_wrn_embedding():
    model_info = inspect_model(wrn_16_1(10), torch.randn(2, 3, 32, 32), "the teacher")
    assert model_info.embedding == (2, 64)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3)), r"cannot run on inputs \(1, 3, 8, 8\)"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), r"must give logits of shape \(N, C\), got \(1, 2, 6, 6\)"),
        (Pair(), r"must give logits .* got a tuple of 0: \(1, 3, 8, 8\), 1: str"),
    ],
)
def test_models_that_do_not_fit(model, message):
    with pytest.raises(UserError, match=message):
        inspect_model(model, torch.randn(2, 3, 8, 8), "the student")


def test_a_copy_of_a_model_leaves_its_extractor_behind():
    import copy

    model = resnet8(num_classes=10, in_channels=1)
    extractor = FeatureExtractor(model, ["layer1"], "fc")
    extractor.unlike_any_other = torch._C  # a module cannot be copied, nor can a CUDA graph
    other = copy.deepcopy(model)
    other(torch.randn(2, 1, 8, 8))
    assert extractor(torch.randn(2, 1, 8, 8)).embedding.shape == (2, 64)
