import urllib.error

import pytest
import torch
from torch import nn

from distill.models import timm_model, torchvision_model
from distill.utils.errors import UserError


def logits_of(model: nn.Module, channels: int, size: int) -> torch.Tensor:
    """In training mode, where models with auxiliary heads would return more."""
    with torch.no_grad():
        return model.train()(torch.randn(2, channels, size, size))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 32),
        ("mobilenet_v3_small", 32),
        ("squeezenet1_1", 32),
        ("shufflenet_v2_x0_5", 32),
        ("googlenet", 32),
        pytest.param("inception_v3", 96, marks=pytest.mark.slow),
        pytest.param("densenet121", 32, marks=pytest.mark.slow),
        pytest.param("regnet_y_400mf", 32, marks=pytest.mark.slow),
        pytest.param("vgg11", 32, marks=pytest.mark.slow),
        pytest.param("swin_t", 32, marks=pytest.mark.slow),
    ],
)
def test_torchvision_head_and_channels(name, size):
    torch.manual_seed(0)
    logits = logits_of(torchvision_model(name, 7, in_channels=1), 1, size)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.slow
def test_torchvision_vit_takes_the_images_size():
    model = torchvision_model("vit_b_16", 7, in_channels=1, image_size=32)
    assert logits_of(model, 1, 32).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet10t", 32), ("vit_tiny_patch16_224", 32), ("mobilenetv3_small_050", 32), ("resnet10t.c3_in1k", None)],
)
def test_timm_head_and_channels(name, size):
    logits = logits_of(timm_model(name, 7, in_channels=1, image_size=size), 1, size or 64)
    assert logits.shape == (2, 7)


def test_timm_vit_without_a_size_keeps_its_own():
    assert timm_model("vit_tiny_patch16_224", 7).patch_embed.img_size == (224, 224)
    assert timm_model("vit_tiny_patch16_224", 7, image_size=32).patch_embed.img_size == (32, 32)
    assert timm_model("vit_tiny_patch16_224", 7, image_size=32, img_size=48).patch_embed.img_size == (48, 48)


def test_arguments_reach_the_model():
    assert torchvision_model("mobilenet_v3_small", 7, width_mult=0.5).classifier[0].in_features == 288
    assert torchvision_model("squeezenet1_1", 7, dropout=0.25).classifier[0].p == 0.25
    assert timm_model("resnet10t", 7, drop_rate=0.25).drop_rate == 0.25


def test_a_new_first_convolution_keeps_the_variance_of_its_responses():
    torch.manual_seed(0)
    rgb = torchvision_model("resnet18", 7).conv1.weight.std().item()
    assert torchvision_model("resnet18", 7, in_channels=12).conv1.weight.std().item() == pytest.approx(
        rgb / 2, rel=0.05
    )


@pytest.mark.parametrize(
    ("build", "name", "hint"),
    [
        (torchvision_model, "resnet19", "resnet18"),
        (torchvision_model, "fasterrcnn_resnet50_fpn", "Allowed"),
        (torchvision_model, "fcn_resnet50", "resnet50"),
        (timm_model, "resnet10", "resnet10t"),
        (timm_model, "resnet11t.c3_in1k", "resnet10t"),
        (timm_model, "timm/resnet18", "resnet18"),
    ],
)
def test_unknown_names(build, name, hint):
    with pytest.raises(UserError, match=rf"^unknown (torchvision classification|timm) model '{name}': .*{hint}"):
        build(name, 10)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (torchvision_model, "resnet18"),
        (torchvision_model, "mobilenet_v3_small"),
        (torchvision_model, "convnext_tiny"),
        (torchvision_model, "squeezenet1_1"),
        (timm_model, "resnet10t"),
        (timm_model, "vit_tiny_patch16_224"),
    ],
)
def test_an_argument_the_model_does_not_have_is_named(build, name):
    with pytest.raises(UserError, match=rf"model '{name}' takes no 'colour'"):
        build(name, 10, image_size=32, colour="red")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: torchvision_model("mnasnet0_5", 10, alpha=2.0), "'mnasnet0_5' takes no 'alpha'"),
        (lambda: torchvision_model("resnet18", 10, weights="DEFAULT"), "no argument 'weights' here; set pretrained"),
        (lambda: torchvision_model("resnet18", 10, norm_layer=3), "'resnet18' with norm_layer=3 .*not callable"),
        (lambda: torchvision_model("vit_b_16", 10, image_size=33), "'vit_b_16' .*indivisible by patch size"),
        (lambda: torchvision_model("maxvit_t", 10, image_size=32), "'maxvit_t' .*not divisible by partition"),
        (lambda: torchvision_model("googlenet", 10, aux_logits=True), "'googlenet' must return logits alone"),
        (lambda: timm_model("resnet10t.none", 10), "'resnet10t.none' .*Invalid pretrained tag"),
        (lambda: timm_model("hf-hub:", 10), "'hf-hub:' .*no model id"),
        (lambda: timm_model("test_vit", 10, image_size="32"), "image_size must be an integer"),
    ],
)
def test_bad_values_become_one_line(build, message):
    with pytest.raises(UserError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Let no download through, and hide the caches."""

    def refuse(*_args, **_kwargs):
        raise urllib.error.URLError("no network\nhere")

    import timm.models._hub

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("build", "name"), [(torchvision_model, "resnet18"), (timm_model, "resnet10t")])
def test_pretrained_offline(build, name):
    with pytest.raises(UserError, match=f"pretrained model '{name}' .*no network here.*needs the network") as caught:
        build(name, 10, pretrained=True)
    assert "\n" not in str(caught.value)


def fake_download(monkeypatch, state):
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_args, **_kwargs: dict(state))


@pytest.mark.parametrize(
    ("name", "first", "head"), [("resnet18", "conv1", "fc"), ("squeezenet1_1", "features.0", "classifier.1")]
)
def test_torchvision_pretrained_folds_colours_and_swaps_the_head(monkeypatch, name, first, head):
    torch.manual_seed(0)
    state = torchvision_model(name, 1000).state_dict()
    fake_download(monkeypatch, state)

    grey = torchvision_model(name, 10, in_channels=1, pretrained=True).eval()
    assert grey.get_submodule(head).weight.shape[:2] == (10, 512)
    assert logits_of(grey, 1, 64).shape == (2, 10)

    rgb = torchvision_model(name, 1000, pretrained=True)
    assert all(torch.equal(value, state[key]) for key, value in rgb.state_dict().items())

    image = torch.randn(2, 1, 32, 32)
    for channels in (1, 5):
        model = torchvision_model(name, 10, in_channels=channels, pretrained=True)
        response = model.get_submodule(first)(image.expand(-1, channels, -1, -1))
        torch.testing.assert_close(
            response, rgb.get_submodule(first)(image.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "size"), [("googlenet", 32), pytest.param("inception_v3", 96, marks=pytest.mark.slow)]
)
def test_pretrained_auxiliary_heads_are_taken_off(monkeypatch, name, size):
    import torchvision

    state = torchvision.models.get_model(name, init_weights=False, aux_logits=True).state_dict()
    fake_download(monkeypatch, state)
    plain = torchvision_model(name, 10, in_channels=1)
    model = torchvision_model(name, 10, in_channels=1, pretrained=True)
    assert set(model.state_dict()) == set(plain.state_dict())
    assert logits_of(model, 1, size).shape == (2, 10)


@pytest.mark.slow
def test_pretrained_vit_interpolates_its_positions(monkeypatch):
    state = torchvision_model("vit_b_32", 1000).state_dict()
    fake_download(monkeypatch, state)
    model = torchvision_model("vit_b_32", 10, image_size=64, pretrained=True)
    assert model.encoder.pos_embedding.shape[1] == 1 + 2 * 2
    assert torch.equal(model.encoder.ln.weight, state["encoder.ln.weight"])
    assert logits_of(model, 3, 64).shape == (2, 10)


def test_timm_pretrained_from_a_file(tmp_path):
    torch.manual_seed(0)
    source = timm_model("resnet10t", 1000)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth")}
    model = timm_model("resnet10t", 10, in_channels=1, pretrained=True, pretrained_cfg_overlay=overlay)
    assert torch.equal(model.layer4[0].conv2.weight, source.layer4[0].conv2.weight)
    torch.testing.assert_close(model.conv1[0].weight, source.conv1[0].weight.sum(1, keepdim=True))
    assert model.fc.out_features == 10
